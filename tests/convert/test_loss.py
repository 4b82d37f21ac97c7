"""What rounding has cost: nothing for the same model, more for one that was changed more, as worked out by hand."""

from __future__ import annotations

import pytest
import torch

from paceline.convert.loss import logits_of, loss, pooled
from tests.tiny import nearly, shared_lm


def ids(text: str) -> list[int]:
    return shared_lm().tokenizer(text)["input_ids"]


def test_the_same_model_has_lost_nothing() -> None:
    read = logits_of(shared_lm())
    text = ids("A first text.")
    found = loss(read(text), read(text), text)
    assert found.tokens == len(text) - 1 and found.same == 1 and found.divergence == 0 and found.before == found.after


def test_losses_are_what_their_definitions_say() -> None:
    """Of each text, and of several with every place the same weight."""
    lm, other = shared_lm(), nearly(shared_lm(), 0.3)
    texts, laws, losses = [ids("A first text."), ids("And another, longer one.")], list[torch.Tensor](), []
    for text in texts:
        laws.append(torch.stack([each.model(torch.tensor([text])).logits[0, :-1].double().softmax(-1) for each in (lm, other)]))
        losses.append(loss(logits_of(lm)(text), logits_of(other)(text), text))
    found, (p, q) = pooled(losses), torch.cat(laws, 1)
    chosen = torch.arange(len(p)), torch.tensor([token for text in texts for token in text[1:]])
    assert found.before == pytest.approx(p[chosen].log().mean().neg().exp().item(), rel=1e-4)
    assert found.after == pytest.approx(q[chosen].log().mean().neg().exp().item(), rel=1e-4)
    assert found.divergence == pytest.approx((p * (p / q).log()).sum(-1).mean().item(), rel=1e-3) and found.divergence > 0.001
    assert found.same == pytest.approx((p.argmax(-1) == q.argmax(-1)).double().mean().item())
    assert f"{found.after:.4g} after rounding" in str(found)
