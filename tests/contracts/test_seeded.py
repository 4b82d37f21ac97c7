"""Invariant 3: with chosen drafts a seed gives plain decoding's very text, whatever the drafter, the batch or the slots."""

from __future__ import annotations

import functools

import pytest

import paceline
from paceline import Sampling, plugins
from paceline.drafters.small_model import SmallModel
from paceline.lm import LM
from tests.contracts.test_greedy import prompts
from tests.tiny import nearly

WARM = Sampling(temperature=0.7, top_p=0.95, repetition_penalty=1.1, seed=11)
NEW = 20


@functools.lru_cache
def plain(lm: LM) -> list[list[int]]:
    return [paceline.generate(lm, p, sampling=WARM, max_new_tokens=NEW)[0].tokens for p in prompts(lm.vocab)]


@pytest.mark.parametrize("slots", [1, 2, 8])
@pytest.mark.parametrize("name", plugins.names("drafter"))
def test_reproducible_drafts_write_plain_text(name: str, slots: int, lm: LM, tiny_of) -> None:
    out = paceline.generate(lm, prompts(lm.vocab), drafter=tiny_of(name, lm), sampling=WARM, max_new_tokens=NEW, slots=slots,
                            reproducible=True)
    assert [g.tokens for g in out] == plain(lm)


@pytest.mark.parametrize("exact", [None, False])
@pytest.mark.parametrize("slots", [1, 3])
@pytest.mark.parametrize("drafter", ["ngram:min_n=1,worth=0", "chosen", "drawn but reproducible"])
def test_chosen_drafts_write_plain_text(drafter: str, slots: int, exact: bool | None, lm: LM) -> None:
    made = drafter if ":" in drafter else SmallModel(model=nearly(lm), length=3, branch=2, drawn="drawn" in drafter, worth=0.0)
    out = paceline.generate(lm, prompts(lm.vocab), drafter=made, sampling=WARM, max_new_tokens=NEW, slots=slots, exact=exact,
                            reproducible="drawn" in drafter)
    assert [g.tokens for g in out] == plain(lm)
    assert sum(g.stats.drafted for g in out) > 0


def test_drawn_drafts_are_repeatable(lm: LM) -> None:
    drafter = SmallModel(model=nearly(lm), length=3, worth=0.0)
    given = {"drafter": drafter, "sampling": WARM, "max_new_tokens": NEW}
    first, again = (paceline.generate(lm, prompts(lm.vocab), **given) for _ in range(2))
    assert [g.tokens for g in first] == [g.tokens for g in again]


def test_samples_of_one_prompt_differ_and_are_repeatable(lm: LM) -> None:
    first, again = (paceline.generate(lm, prompts(lm.vocab)[0], sampling=WARM, n=4, max_new_tokens=NEW, slots=s) for s in (4, 1))
    assert [g.tokens for g in first] == [g.tokens for g in again]
    assert len({tuple(g.tokens) for g in first}) == 4
    assert first[0].tokens == plain(lm)[0]


def test_without_a_seed_texts_differ(lm: LM) -> None:
    out = paceline.generate(lm, [prompts(lm.vocab)[0]] * 2, sampling=Sampling(temperature=1.0), max_new_tokens=NEW)
    assert out[0].tokens != out[1].tokens
