"""GliDe as a drafter: lossless with any head, for rows that come and go, and clear about heads that do not fit."""

from __future__ import annotations

import logging

import pytest
import torch

import paceline
from paceline import ModelError, Sampling, SpecError
from paceline.drafters.glide import Glide
from paceline.models.draft_head.head import Head
from paceline.models.draft_head.shape import shape_for
from paceline.testing import tiny_lm

SIZE = {"width": 32, "heads": 2, "kv_heads": 1, "ffn": 48}


def written(lm, drafter, **options):
    return paceline.generate(lm, [[5, 6, 7] * 4, [9] * 30, [4]], drafter=drafter, max_new_tokens=24, eos=(), **options)


OPTIONS = [{"worth": 0.0}, {"branch": 3, "worth": 0.0}, {"beam": 3}, {"length": 1, "worth": 0.0}, {"worth": 1e-6}]


@pytest.mark.parametrize("forward", ["auto", "lean", "stock"])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.9, top_k=20, seed=3)], ids=["greedy", "seeded"])
def test_the_text_is_the_targets(forward: str, options: dict, sampling: Sampling) -> None:
    lm = tiny_lm(forward=forward)
    drafter = Glide(Head(shape_for(lm, **SIZE, layers=2)), **options)
    exact = False if forward != "auto" else None
    plain = written(lm, "none", sampling=sampling, exact=exact, slots=1)
    out = written(lm, drafter, sampling=sampling, exact=exact, reproducible=True, slots=2)
    assert [g.tokens for g in out] == [g.tokens for g in plain]
    assert all(g.stats.drafted > 0 and not g.stats.failures for g in out)


def test_its_keys_are_read_where_they_lie_when_rows_come_and_go() -> None:
    """Slots move when rows leave; a head that read another row's keys would draft something else."""
    lm = tiny_lm()
    drafter = Glide(Head(shape_for(lm, **SIZE)), length=2, worth=0.0)
    alone = [paceline.generate(lm, [[5 + i] * (3 + i)], drafter=drafter, max_new_tokens=6 + 3 * i, eos=())[0] for i in range(5)]
    engine = paceline.Engine(lm, drafter, controller="fixed:together=99", slots=3)
    rows = [engine.submit(paceline.Request([5 + i] * (3 + i), max_new_tokens=6 + 3 * i)) for i in range(5)]
    while any(row.finish_reason is None for row in rows):
        engine.step()
    for row, one in zip(rows, alone, strict=True):
        assert row.new_tokens == one.tokens and row.stats.accepted == one.stats.accepted
        assert row.stats.drafted == one.stats.drafted
    assert not engine.drafters[0].kv.active


def test_a_head_that_is_handed_in_stays_as_it_is() -> None:
    head = Head(shape_for(tiny_lm(), **SIZE))
    Glide(head).attach(paceline.load(tiny_lm().model.to(torch.bfloat16)))
    assert all(p.dtype is torch.float32 for p in head.parameters())


def test_a_head_for_another_target_is_refused_or_said(caplog: pytest.LogCaptureFixture) -> None:
    lm, other = tiny_lm(), tiny_lm(num_key_value_heads=4)
    head = Head(shape_for(lm, **SIZE))
    with pytest.raises(ModelError, match="target_kv_heads 2 instead of 4"):
        Glide(head).attach(other)
    whole = {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 1.0}
    with pytest.raises(ModelError, match="gpt_neox has no num_key_value_heads"):
        Glide(head).attach(tiny_lm("gpt_neox", rope_parameters=whole))
    with caplog.at_level(logging.WARNING, "paceline"):
        Glide(head).attach(tiny_lm(seed=1))
        Glide(head, length=9).attach(lm)
    assert "another target" in caplog.text and "5 tokens ahead, not 9" in caplog.text
    with pytest.raises(SpecError, match="glide needs length"):
        Glide(head, length=0)


def test_bf16_is_exact_too() -> None:
    lm = paceline.load(tiny_lm().model.to(torch.bfloat16))
    if not lm.exact:
        pytest.skip(lm.why_not_exact)
    drafter = Glide(Head(shape_for(lm, **SIZE)), branch=2 if lm.exact_trees else 1)
    assert [g.tokens for g in written(lm, drafter)] == [g.tokens for g in written(lm, "none")]


@pytest.mark.parametrize("forward", ["auto", "lean"])
def test_a_prompt_of_one_token_is_drafted_for(forward: str) -> None:
    """The target has no keys yet when the first draft is made."""
    lm = tiny_lm(forward=forward)
    out = paceline.generate(lm, [[5]], drafter=Glide(Head(shape_for(lm, **SIZE)), worth=0.0), max_new_tokens=6, eos=())[0]
    assert not out.stats.failures and out.stats.drafted > 0


def test_a_head_that_gives_no_numbers_drafts_nothing_and_harms_nothing() -> None:
    lm = tiny_lm()
    head = Head(shape_for(lm, **SIZE))
    with torch.no_grad():
        head.lm_head.weight.fill_(torch.nan)
    out, plain = (paceline.generate(lm, [[5, 6, 7]], drafter=d, max_new_tokens=12, eos=())[0] for d in (Glide(head), "none"))
    assert out.tokens == plain.tokens
