"""Exact mode: chains drafted and verified give plain decoding's tokens and log-probabilities bit for bit."""

from __future__ import annotations

import functools

import pytest
import torch

import paceline
from paceline import LM, Sampling
from paceline.drafters.small_model import SmallModel
from paceline.testing import tiny_lm, tiny_model
from tests.tiny import nearly

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@functools.lru_cache
def model(dtype: str, forward: str = "auto") -> LM:
    """The zoo's proportions: widths that are multiples of 64, grouped queries."""
    made = tiny_model("llama", vocab=512, hidden_size=320, intermediate_size=960, num_attention_heads=4, num_key_value_heads=2,
                      num_hidden_layers=1)
    return paceline.load(made.to(DTYPES[dtype]), forward=forward)


def prompts() -> list[list[int]]:
    """One text that crosses the attention kernel's block of 512 keys, a repetitive one and a short one."""
    ids = torch.randint(3, 512, (501,), generator=torch.Generator().manual_seed(0)).tolist()
    return [ids, ids[:9] * 4, ids[:2]]


def written(lm: LM, drafter, sampling: Sampling, slots: int = 3):
    out = paceline.generate(lm, prompts(), drafter=drafter, sampling=sampling, max_new_tokens=20, exact=True, slots=slots,
                            reproducible=True)
    return [(g.tokens, [(p.logprob, p.top) for p in g.logprobs]) for g in out], sum(g.stats.drafted for g in out)


@pytest.mark.parametrize("sampling", [Sampling(logprobs=2), Sampling(temperature=0.8, top_p=0.9, seed=3, logprobs=2)],
                         ids=["greedy", "seeded"])
@pytest.mark.parametrize("forward", ["auto", "lean"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_drafted_chains_are_plain_decoding_bit_for_bit(dtype: str, forward: str, sampling: Sampling, all_threads) -> None:
    lm = model(dtype, forward)
    if not lm.exact:
        pytest.skip(f"this machine cannot promise it: {lm.why_not_exact}")
    plain, _ = written(lm, "none", sampling, slots=1)
    for drafter, slots in (("ngram:min_n=1,worth=0", 1), (SmallModel(model=nearly(lm), length=5, worth=0.0), 3)):
        out, drafted = written(lm, drafter, sampling, slots)
        assert out == plain and drafted > 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_trees_are_plain_decoding_too_where_keys_are_taken_in_the_texts_order(dtype: str, all_threads) -> None:
    lm = model(dtype)
    if not lm.exact_trees:
        pytest.skip(f"there is no fused forward here: {lm.notes}")
    plain, _ = written(lm, "none", Sampling(logprobs=2), slots=1)
    for branch, slots in ((3, 1), (3, 3)):
        out, drafted = written(lm, SmallModel(model=nearly(lm), length=3, branch=branch, worth=0.0), Sampling(logprobs=2), slots)
        assert out == plain and drafted > 0


def test_only_chains_are_drafted_by_the_other_forwards() -> None:
    lm = model("bf16", "lean")
    if not lm.exact:
        pytest.skip(f"this machine cannot promise it: {lm.why_not_exact}")
    engine = paceline.Engine(lm, SmallModel(model=lm, length=2, branch=3, worth=0.0))
    row = engine.submit(paceline.Request([5, 6], max_new_tokens=12))
    while row.finish_reason is None:
        engine.step()
        assert row.last.proposal.is_chain
    loose = paceline.generate(lm, [5, 6], drafter=engine.drafters[0], max_new_tokens=12, exact=False)[0]
    assert loose.stats.drafted > row.stats.drafted


def test_a_promise_that_cannot_be_made_says_why() -> None:
    lm = tiny_lm(max_position_embeddings=2)
    assert not lm.exact and lm.why_not_exact
    with pytest.raises(paceline.ModelError, match=lm.why_not_exact):
        paceline.generate(lm, [5], max_new_tokens=1, exact=True)
