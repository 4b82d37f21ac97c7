"""What rounding has cost: nothing for the same model, more for one that was changed more, as worked out by hand."""

from __future__ import annotations

import pytest
import torch

from paceline.convert.loss import loss
from tests.tiny import nearly, shared_lm

TEXTS = ["A first text.", "x", "And then another one, which is longer than 512 tokens. " * 12]


def test_the_same_model_has_lost_nothing() -> None:
    lm = shared_lm()
    found = loss(lm, lm, TEXTS)
    assert found.tokens == len(TEXTS[0]) - 1 + 511 and found.same == 1 and found.divergence == 0
    assert found.before == found.after


def test_losses_are_what_their_definitions_say() -> None:
    lm, other = shared_lm(), nearly(shared_lm(), 0.3)
    found, ids = loss(lm, other, TEXTS[:1]), torch.tensor([lm.tokenizer(TEXTS[0])["input_ids"]])
    p, q = (each.model(ids).logits[0, :-1].double().softmax(-1) for each in (lm, other))
    chosen = torch.arange(len(p)), ids[0, 1:]
    assert found.before == pytest.approx(p[chosen].log().mean().neg().exp().item(), rel=1e-4)
    assert found.after == pytest.approx(q[chosen].log().mean().neg().exp().item(), rel=1e-4)
    assert found.divergence == pytest.approx((p * (p / q).log()).sum(-1).mean().item(), rel=1e-3) and found.divergence > 0.001
    assert found.same == pytest.approx((p.argmax(-1) == q.argmax(-1)).double().mean().item())
    assert f"{found.after:.4g} after rounding" in str(found)
