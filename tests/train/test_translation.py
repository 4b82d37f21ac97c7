"""Batches, masks and losses of translation; a teacher's translations are written once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from paceline.models.translation.config import EOS, MASK, PAD, TranslationConfig
from paceline.models.translation.markov import Markov
from paceline.models.translation.nat import Nat
from paceline.models.translation.rescore import token_scores
from paceline.objectives.ngram_oaxe import NgramOaxe
from paceline.objectives.oaxe import Oaxe
from paceline.train import translation
from paceline.train.translation import Sentences, batches, distilled, fading, masked, token_by_token, writes_at_once

SIZES = {"vocabulary": 20, "width": 16, "heads": 2, "ffn": 24, "layers": 1, "decoder_layers": 2, "longest": 12, "dropout": 0.0}
BATCH = Sentences(torch.tensor([[5, 6, 7], [9, 8, PAD]]), torch.tensor([[7, 8, 9, 4], [6, 5, PAD, PAD]]), 3)


def test_an_epoch_holds_each_pair_once_in_batches_of_like_lengths() -> None:
    source = [[4 + i % 9] * (1 + i % 7) for i in range(50)]
    target = [[4 + i % 11] * (1 + i % 5) for i in range(50)]
    batch = batches((source, target), 8, seed=0)
    first = [batch(i) for i in range(7)]
    rows = [row for some in first for row in zip(some.source.tolist(), some.target.tolist(), strict=True)]
    seen = sorted(tuple([t for t in side if t] for side in row) for row in rows)
    assert seen == sorted(zip(source, target, strict=True))
    places = torch.cat([side.flatten() for some in first for side in some[:2]])
    assert (places == PAD).float().mean() < 0.3  # in any order 0.40, by the target alone 0.31
    assert all(torch.equal(a, b) for a, b in zip(batches((source, target), 8, seed=0)(9)[:2], batch(9)[:2], strict=True))
    assert any(a.target.shape != batch(i + 7).target.shape for i, a in enumerate(first))


def test_every_number_of_masks_is_as_likely_and_never_none() -> None:
    torch.manual_seed(0)
    real = torch.ones(4000, 4, dtype=torch.bool)
    real[:, 3] = False
    hidden = masked(real)
    assert not hidden[:, 3].any()
    shares = hidden.sum(1).bincount(minlength=4) / 4000
    assert shares[0] == 0 and (shares[1:] - 1 / 3).abs().max() < 0.03
    assert (hidden[:, :3].float().mean(0) - 2 / 3).abs().max() < 0.03


def test_a_token_by_token_model_learns_from_tokens_and_the_end() -> None:
    torch.manual_seed(0)
    model = Markov(TranslationConfig(**SIZES, order=2, leak_free="transparent"))
    losses, count = token_by_token(model, (), 0.0)(BATCH, False)
    exact = -token_scores(model, model.read(BATCH.source), BATCH.target).sum()
    assert count == 8 and losses["xent"] == pytest.approx(exact.item(), rel=1e-5)
    drawn = {token_by_token(model, (1, 3), 0.0)(BATCH._replace(seed=i), False)[0]["xent"] for i in range(12)}
    own = {-token_scores(model, model.read(BATCH.source), BATCH.target, order).sum().item() for order in (1, 3)}
    assert sorted(drawn) == pytest.approx(sorted(own), rel=1e-5)


def test_a_one_pass_model_learns_what_is_masked_and_its_length() -> None:
    torch.manual_seed(0)
    model = Nat(TranslationConfig(**SIZES))
    losses, count = writes_at_once(model, Oaxe(), 0.0)(BATCH, False)
    logits, lengths = model(BATCH.source, BATCH.target.where(BATCH.target == PAD, MASK))
    assert count == 6 and losses["matched"] <= losses["xent"]
    assert losses["length"] == pytest.approx(-(lengths[0, 4] + lengths[1, 2]).item(), rel=1e-5)
    chances = logits.log_softmax(-1).gather(2, BATCH.target[..., None])[..., 0]
    assert losses["xent"] == pytest.approx(-chances[BATCH.target != PAD].sum().item(), rel=1e-5)
    some, few = writes_at_once(model, None, 0.0)(BATCH, False)
    assert 2 <= few <= 6 and some == writes_at_once(model, None, 0.0)(BATCH, False)[0]
    assert all(p.grad is not None for p in model.parameters())


def test_an_objective_fades_from_cross_entropy_to_its_own() -> None:
    torch.manual_seed(0)
    model, own = Nat(TranslationConfig(**SIZES)), NgramOaxe(n=2, mix=0.2)
    for step, expected in ((0, replace(own, mix=1.0, curriculum=1.0)), (5, replace(own, mix=0.6, curriculum=0.5)), (10, own)):
        fade = fading(model, own, {"mix": "linear", "curriculum": "linear"}, 11)
        slopes = []
        for gradient in (fade, writes_at_once(model, expected, 0.0)):
            model.zero_grad()
            gradient(BATCH._replace(step=step), False)
            slopes.append([p.grad.clone() for p in model.parameters()])
        torch.testing.assert_close(*slopes)
    assert batches(([[5]] * 9, [[6]] * 9), 4, seed=0)(7).step == 7


def test_a_teacher_writes_each_part_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model, pairs = Markov(TranslationConfig(**SIZES)), ([[4 + i % 9, 5] for i in range(10)], [[6]] * 10)
    monkeypatch.setattr(translation, "PART", 4)
    done: list[int] = []
    found = distilled(model, pairs, tmp_path, 2, lambda progress: done.append(progress.step))
    assert done == [4, 8, 10] and len(found[1]) == 10 and found[0] == pairs[0]
    assert all(some and EOS not in some for some in found[1])
    (tmp_path / "part-00000004.json").unlink()
    asked, translated = [], translation._translated
    monkeypatch.setattr(translation, "_translated", lambda *given: asked.append(len(given[1])) or translated(*given))
    assert distilled(model, pairs, tmp_path, 2, lambda progress: None) == found and asked == [4]
