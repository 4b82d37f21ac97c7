"""Cross-entropy by hand."""

from __future__ import annotations

import pytest
import torch

from paceline.objectives.xent import xent


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_equals_the_sum_by_hand(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    logits, target = torch.randn(6, 5).to(dtype), torch.tensor([0, 4, -100, 2, -1, 2])
    law = logits.double().softmax(-1)
    expected = -sum(law[i, t].log().item() for i, t in enumerate(target.tolist()) if t >= 0)
    loss = xent(logits, target)
    assert loss.total.item() == pytest.approx(expected, rel=1e-5)
    assert loss.parts["xent"] == pytest.approx(expected, rel=1e-5)


def test_smoothing_is_cross_entropy_against_a_uniform_law_in_part() -> None:
    logits, target = torch.randn(6, 5, dtype=torch.float64), torch.tensor([0, 4, -100, 2, -1, 2])
    uniform = -logits.log_softmax(-1).mean(-1)[target >= 0].sum()
    expected = 0.9 * xent(logits, target).total + 0.1 * uniform
    assert xent(logits, target, smoothing=0.1).total.item() == pytest.approx(expected.item())


def test_unscored_rows_get_no_gradient() -> None:
    logits = torch.randn(3, 4, requires_grad=True)
    xent(logits, torch.tensor([1, -100, -7])).total.backward()
    assert logits.grad is not None and logits.grad[1:].abs().max() == 0 and logits.grad[0].abs().max() > 0
