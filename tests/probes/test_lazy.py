"""Lazy layers, against attention that transformers shows."""

from __future__ import annotations

import pytest
import torch

import paceline
from paceline.errors import DataError, SpecError
from paceline.lm.capture import lazy_ratio
from paceline.probes.lazy import uniform
from paceline.testing import tiny_lm
from tests.tiny import shared_lm


@torch.no_grad()
def test_shares_are_those_of_transformers() -> None:
    lm, texts = tiny_lm(), [[(7 * i + 3 * j) % 259 for j in range(n)] for i, n in enumerate((40, 50, 12))]
    (found,) = paceline.probe(lm, "lazy:sinks=2,recent=10,last=6", texts)
    assert found.texts == 2  # one is too short to be anything but lazy
    lm.model.set_attn_implementation("eager")
    for each, text in enumerate(texts[:2]):
        n = len(text)
        ago, first = torch.arange(n)[:, None] - torch.arange(n), torch.arange(n)[None] < 2
        kept = {"lazy": first | (ago < 10), "recent": ago < 10, "sinks": first}
        for layer, attention in enumerate(lm.model(torch.tensor([text]), output_attentions=True).attentions):
            for name, keys in kept.items():
                theirs = float((attention[0] * keys).sum(-1)[:, -6:].mean())
                assert float(found.values[name].each[each, layer]) == pytest.approx(theirs, abs=1e-4)
    uniform = sum(12 / t for n in (40, 50) for t in range(n - 5, n + 1)) / 12
    assert found.values["lazy"].null.tolist() == pytest.approx([uniform] * 3)


@pytest.mark.parametrize("window", [None, 5, 12])
@pytest.mark.parametrize(("sinks", "recent"), [(2, 8), (0, 8), (4, 0), (30, 3)])
def test_the_null_level_is_what_equal_scores_give(sinks: int, recent: int, window: int | None) -> None:
    places, k = [0, 3, 7, 19], torch.randn(1, 20, 4)
    even = sum(uniform(place, sinks, recent, window) for place in places) / 4
    assert even == pytest.approx(lazy_ratio(torch.zeros(1, 4, 4), k, places, sinks, recent, window), abs=1e-6)


def test_texts_have_to_be_longer_than_what_is_kept() -> None:
    with pytest.raises(DataError, match="more than 68 tokens"):
        paceline.probe(shared_lm(), "lazy", [[1, 2, 3]])
    with pytest.raises(SpecError, match="last >= 1"):
        paceline.probe(shared_lm(), "lazy:last=0", [[1, 2, 3]])
