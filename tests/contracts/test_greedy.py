"""Greedy decoding: every drafter, every family, both forwards write what transformers' own `generate` writes."""

from __future__ import annotations

import functools

import pytest
import torch

import paceline
from paceline import plugins
from paceline.drafters.small_model import SmallModel
from paceline.lm import LM
from tests.contracts.test_families import FORWARDS, ids
from tests.tiny import nearly

NEW = 24


def prompts(vocab: int) -> list[list[int]]:
    """A text that repeats itself, one longer than every window, and a single token."""
    motif = ids(6, 5, vocab)
    return [motif * 3, ids(45, 6, vocab), [7]]


@functools.lru_cache
def wanted(lm: LM) -> list[list[int]]:
    out = []
    for prompt in prompts(lm.vocab):
        ids, mask = torch.tensor([prompt]), torch.ones(1, len(prompt), dtype=torch.long)
        whole = lm.model.generate(ids, attention_mask=mask, do_sample=False, max_new_tokens=NEW, pad_token_id=2)
        out.append(whole[0, len(prompt) :].tolist())
    return out


@pytest.mark.parametrize("name", plugins.names("drafter"))
@pytest.mark.parametrize(("family", "forward"), FORWARDS)
def test_drafted_equals_plain_equals_transformers(family: str, forward: str, name: str, lm_of, tiny_of) -> None:
    lm = lm_of(family, forward)
    out = paceline.generate(lm, prompts(lm.vocab), drafter=tiny_of(name, lm), max_new_tokens=NEW, slots=2)
    assert [g.tokens for g in out] == wanted(lm)
    if name in ("ngram", "small_model"):
        assert sum(g.stats.accepted for g in out) > 0


@pytest.mark.parametrize("name", plugins.names("drafter"))
@pytest.mark.parametrize("family", ["llama", "mistral", "gemma3_text"])
def test_trees_write_the_same(family: str, name: str, lm_of, tiny_of) -> None:
    """With exact=False side branches are drafted too."""
    lm = lm_of(family)
    out = paceline.generate(lm, prompts(lm.vocab), drafter=tiny_of(name, lm), max_new_tokens=NEW, exact=False)
    assert [g.tokens for g in out] == wanted(lm)


def test_a_wide_comb_of_another_model(lm: LM) -> None:
    """Draft and target differ, so that accepted paths leave the main chain."""
    drafter = SmallModel(model=nearly(lm), length=3, branch=4, worth=0.0)
    out = paceline.generate(lm, prompts(lm.vocab), drafter=drafter, max_new_tokens=NEW, exact=False)
    assert [g.tokens for g in out] == wanted(lm)
    assert 0 < sum(g.stats.accepted for g in out) < sum(g.stats.drafted for g in out)
