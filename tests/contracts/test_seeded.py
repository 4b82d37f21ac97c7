"""Invariant 3: with chosen drafts a seed gives plain decoding's very text, whatever the drafter, the batch or the slots."""

from __future__ import annotations

import functools
from types import SimpleNamespace
from typing import Any

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
    return [paceline.generate(lm, p, drafter="none", sampling=WARM, max_new_tokens=NEW)[0].tokens for p in prompts(lm.vocab)]


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
    first, again = (paceline.generate(lm, prompts(lm.vocab)[0], drafter="none", sampling=WARM, n=4, max_new_tokens=NEW, slots=s)
                    for s in (4, 1))
    assert [g.tokens for g in first] == [g.tokens for g in again]
    assert len({tuple(g.tokens) for g in first}) == 4
    assert first[0].tokens == plain(lm)[0]


def test_without_a_seed_texts_differ(lm: LM) -> None:
    out = paceline.generate(lm, [prompts(lm.vocab)[0]] * 2, drafter="none", sampling=Sampling(temperature=1.0),
                            max_new_tokens=NEW)
    assert out[0].tokens != out[1].tokens


MODELS = ["small_model:model=zoo:tiny-draft", "glide", "longspec", "cape:inner=glide", "sparse_self:keys=8,worth=0,length=3",
          "merge:drafters=[suffix,glide]", "auto", ["suffix", "glide"]]  # fmt: skip
WARMER = Sampling(temperature=0.9, seed=3)
TEXTS = ["The little dog went", "def add(a, b):\n    return", "Once upon a time there was", "One, two,", "He said", "A list:"]


@pytest.mark.parametrize("drafter", MODELS, ids=str)
def test_a_seed_gives_the_same_text_beside_other_rows(drafter, zoo: LM) -> None:
    given = {"drafter": drafter, "sampling": WARMER, "max_new_tokens": 24}
    alone, beside = paceline.generate(zoo, TEXTS[0], **given)[0], paceline.generate(zoo, TEXTS, **given)[0]
    assert alone.tokens == beside.tokens
    assert alone.stats.drafted > 0 or drafter != MODELS[0]


class Forced:
    """Costs that make drafting seem almost free, or hopeless; a plain step takes a minute, or no time at all."""

    def __init__(self, price: float, plain: float) -> None:
        self.branching, self.price = price, price
        self.plain = SimpleNamespace(known=lambda rows: True, seconds=lambda rows, length: plain,
                                     enter=lambda rows, length, seconds: None)

    def token(self, rows: int = 1, length: int = 0) -> float:
        return self.price

    def extra(self, nodes: int, rows: int = 1, length: int = 0) -> float:
        return self.price * nodes

    def draft(self, small: Any, rows: int = 1) -> float:
        return self.price

    def ready(self, nodes: int) -> None: ...

    def renew(self, slots: Any) -> None: ...


@pytest.mark.parametrize("sampling", [WARMER, Sampling()], ids=["sampled", "greedy"])
@pytest.mark.parametrize("drafter", ["merge:drafters=[suffix,glide]", "auto", ["suffix", "glide"]], ids=str)
def test_a_text_is_the_same_whatever_drafting_seems_to_cost(drafter: Any, sampling: Sampling, zoo: LM, monkeypatch) -> None:
    """Two timings forced apart: one drafts in every round, the other soon stops."""
    given, found = {"sampling": sampling, "max_new_tokens": 32}, []
    for price, plain in ((0.01, 60.0), (0.9, 1e-9)):
        monkeypatch.setattr(zoo, "costs", Forced(price, plain))
        monkeypatch.setattr(zoo, "draft_models", {})  # what others have left of the allowance
        found += paceline.generate(zoo, TEXTS[2], drafter=drafter, **given)
        monkeypatch.undo()
    cheap, hopeless = found
    assert cheap.tokens == hopeless.tokens == paceline.generate(zoo, TEXTS[2], drafter="none", **given)[0].tokens
    assert cheap.stats.drafted > 2 * hopeless.stats.drafted


@pytest.fixture(scope="module")
def zoo() -> LM:
    return paceline.load("zoo:tiny")
