"""The one-block head with a window: its memory stays as it is, and what it drafts is what a head with all its keys would."""

from __future__ import annotations

import pytest
import torch

import paceline
from paceline.drafters.longspec import Longspec
from paceline.errors import ModelError, SpecError
from paceline.lm import kv as kv_module
from paceline.lm import lm as lm_module
from paceline.lm.batch import Batch
from paceline.models.draft_head.head import Head
from paceline.models.draft_head.lm import HeadLM
from paceline.models.draft_head.shape import longspec_shape
from paceline.testing import tiny_lm
from tests.models.draft_head.test_head import ids, taught, varied

WINDOW = 8


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little beyond the window is held, so that keys are dropped often."""
    monkeypatch.setattr(kv_module, "MARGIN", 4)
    monkeypatch.setattr(lm_module, "CHUNK", 24)


@pytest.mark.parametrize("forward", ["auto", "lean"])
def test_after_moving_its_window_it_computes_what_it_was_taught(forward: str, small_steps: None) -> None:
    lm = tiny_lm(forward=forward)
    head = varied(Head(longspec_shape(lm, window=WINDOW)))
    work, text = HeadLM(head, lm), ids(190)
    target, own = lm.cache(), work.cache()
    read, slot = target.take(), own.take()
    slot.reads = read
    fed = 0
    for n in (100, 101, 106, 107, 150, 151, 180):
        lm.prefill(target, read, text[read.length : n])
        chunk = text[fed:n] if n != 150 else text[fed:120]  # and then in smaller pieces
        while fed < n:
            work.prefill(own, slot, chunk[:24])
            fed, chunk = fed + len(chunk[:24]), text[fed + len(chunk[:24]) : n]
        ours = work.forward(Batch.of([slot], [text[n : n + 4]]), own)  # scratch: a draft that is thrown away
        wanted = taught(head, lm, text[: n + 4], [min(n, i) for i in range(n + 4)])[n:]
        torch.testing.assert_close(ours, wanted, atol=1e-4, rtol=1e-4)
    assert own.start(0, slot) > 0 and slot.length == 180


def test_rows_draft_with_a_moving_window_as_with_all_keys(small_steps: None, monkeypatch: pytest.MonkeyPatch) -> None:
    lm = tiny_lm()
    head = varied(Head(longspec_shape(lm, window=WINDOW)))
    prompts = [ids(70, 1), ids(3, 2), ids(200, 3)]
    made = []
    for margin in (4, 10_000):
        monkeypatch.setattr(kv_module, "MARGIN", margin)
        out = paceline.generate(lm, prompts, drafter=Longspec(head, length=4, worth=0.0), max_new_tokens=80, eos=(), slots=2)
        made.append([(g.tokens, g.stats.drafted, g.stats.accepted, g.stats.failures) for g in out])
    plain = paceline.generate(lm, prompts, drafter="none", max_new_tokens=80, eos=(), slots=1)
    assert made[0] == made[1] and [m[0] for m in made[0]] == [g.tokens for g in plain]


def test_its_memory_does_not_grow_and_a_long_prompt_costs_a_window() -> None:
    lm = tiny_lm(max_position_embeddings=17_000)
    head, fed = Head(longspec_shape(lm)), []
    for length in (1_000, 4_000, 16_000):
        engine = paceline.Engine(lm, Longspec(head, length=2, worth=0.0))
        drafter = engine.drafters[0]
        prefill = drafter.lm.prefill
        drafter.lm.prefill = lambda kv, slot, tokens, prefill=prefill: (fed.append(len(tokens)), prefill(kv, slot, tokens))
        row = engine.submit(paceline.Request(ids(length), max_new_tokens=8))
        while row.stats.rounds < 2:
            engine.step()
        fed.append(drafter.kv.bytes)
    assert fed[0::2] == [512] * 3 and len(set(fed[1::2])) == 1


@pytest.mark.parametrize("beam", [(4, 16, 16, 16, 16), (2, 3)])
def test_its_trees_follow_the_widths_and_the_budget(beam: tuple[int, ...]) -> None:
    lm = tiny_lm()
    drafter = Longspec(varied(Head(longspec_shape(lm, window=WINDOW))), length=5, beam=beam)
    for budget in (80, 20, 4):
        engine = paceline.Engine(lm, drafter, controller=f"fixed:budget={budget},together={budget}", exact=False)
        row = engine.submit(paceline.Request(ids(30), max_new_tokens=90))
        engine.step()
        depths = row.last.proposal.depths()
        assert len(depths) <= min(budget, sum(beam)) and max(depths) <= len(beam)
        if budget >= sum(beam):
            assert [depths.count(d + 1) for d in range(len(beam))] == [min(w, 259) for w in beam]


def test_what_it_shares_stays_the_targets_and_is_not_saved(tmp_path) -> None:
    lm = tiny_lm()
    head = Head(longspec_shape(lm, window=WINDOW))
    assert not any("embed" in name or "lm_head" in name or name == "norm.weight" for name, _ in head.named_parameters())
    head.save_pretrained(tmp_path)
    again = Head.from_pretrained(tmp_path)
    assert again.shape == head.shape
    work = HeadLM(again, lm)
    assert work.model.embedding.data_ptr() == lm.model.get_input_embeddings().weight.data_ptr()
    assert all(not p.requires_grad for p in again.borrowed)


def test_heads_of_another_kind_or_target_are_refused() -> None:
    lm = tiny_lm()
    with pytest.raises(ModelError, match="Expected a longspec head, found one of the kind glide"):
        from paceline.drafters.glide import tiny

        Longspec(tiny(lm).model).attach(lm)
    with pytest.raises(ModelError, match="width 64 instead of 32"):
        Longspec(Head(longspec_shape(lm))).attach(tiny_lm(hidden_size=32, head_dim=16))
    with pytest.raises(SpecError, match="beam >= 0"):
        Longspec(beam=(3, -1))
    with pytest.raises(ModelError, match="as wide as it"):
        longspec_shape(lm, width=48)
