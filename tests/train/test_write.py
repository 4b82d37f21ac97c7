"""Text a model writes for its draft: beginnings of the documents, continued by the model, the same for the same seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paceline.data.corpus import Stream
from paceline.train.write import LENGTH, TEMPERATURES, write_on


@pytest.fixture(scope="module")
def streams() -> dict[str, Stream]:
    """A source of plain text, and one whose documents begin with 30 tokens that are never learned."""
    rng = np.random.default_rng(0)
    text = rng.integers(3, 250, 900).astype(np.uint16)
    learn = np.ones(900, dtype=bool)
    hidden = learn.copy()
    for start in range(0, 900, 90):
        hidden[start : start + 30] = False
    starts = np.arange(0, 901, 90)
    return {"open": Stream(text, starts, learn, 900), "closed": Stream(text + 1, starts, hidden, 900)}


def test_documents_are_given_beginnings_and_the_models_own_text(model_folder: Path, streams: dict[str, Stream]) -> None:
    written = write_on(model_folder, streams, {"open": 0.5, "closed": 0.5}, 3000, frozenset([0]), seed=1)
    again = write_on(model_folder, streams, {"open": 0.5, "closed": 0.5}, 3000, frozenset([0]), seed=1)
    assert np.array_equal(written.tokens, again.tokens) and len(written.tokens) >= 3000
    known = {name: {tuple(s.tokens[a : a + 16].tolist()) for a in s.starts[:-1]} for name, s in streams.items()}
    kinds = {"open": 0, "closed": 0}
    for start, stop in zip(written.starts[:-1], written.starts[1:], strict=True):
        document = written.tokens[start:stop].tolist()
        [kind] = [name for name, heads in known.items() if tuple(document[:16]) in heads]
        kinds[kind] += 1
        source = streams[kind]
        at = next(a for a in source.starts[:-1] if source.tokens[a : a + 16].tolist() == document[:16])
        given = next((i for i in range(89) if i >= len(document) or document[i] != source.tokens[at + i]), 89)
        assert given >= (30 if kind == "closed" else 16) and len(document) - given <= LENGTH + 1
    assert all(kinds.values()) and 0.0 in TEMPERATURES


def test_only_one_source_is_used_when_the_other_has_no_share(model_folder: Path, streams: dict[str, Stream]) -> None:
    written = write_on(model_folder, streams, {"open": 1.0, "closed": 0.0}, 500, frozenset([0]), seed=2)
    heads = {tuple(streams["open"].tokens[a : a + 16].tolist()) for a in streams["open"].starts[:-1]}
    assert all(tuple(written.tokens[a : a + 16].tolist()) in heads for a in written.starts[:-1])
