"""Forward KL by hand, and what a teacher must be."""

from __future__ import annotations

import pytest
import torch

from paceline import plugins
from paceline.errors import ShapeError
from paceline.objectives.distil import distil


def case() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.randn(5, 7, requires_grad=True), torch.tensor([3, -100, 0, 6, 1]), torch.randn(5, 7)


@pytest.mark.parametrize("hard_share", [0.0, 0.1, 1.0])
def test_equals_the_sums_by_hand(hard_share: float) -> None:
    logits, target, teacher = case()
    p, q = teacher.double().softmax(-1), logits.detach().double().softmax(-1)
    rows = [i for i, t in enumerate(target.tolist()) if t >= 0]
    kl = sum((p[i, v] * (p[i, v] / q[i, v]).log()).item() for i in rows for v in range(7))
    hard = -sum(q[i, target[i]].log().item() for i in rows)
    loss = distil(logits, target, teacher, hard_share=hard_share)
    assert loss.total.item() == pytest.approx((1 - hard_share) * kl + hard_share * hard, rel=1e-5)
    assert loss.parts == pytest.approx({"kl": kl, "xent": hard}, rel=1e-5)


def test_the_gradient_of_kl_is_the_difference_of_the_laws() -> None:
    logits, target, teacher = case()
    distil(logits, target, teacher, hard_share=0.0).total.backward()
    scored = (target >= 0)[:, None]
    expected = scored * (logits.detach().softmax(-1) - teacher.softmax(-1))
    torch.testing.assert_close(logits.grad, expected, atol=1e-6, rtol=1e-4)


def test_a_perfect_student_has_no_kl_and_no_gradient_reaches_the_teacher() -> None:
    _, target, teacher = case()
    student, taught = teacher.clone().requires_grad_(), teacher.clone().requires_grad_()
    loss = distil(student, target, taught, hard_share=0.0)
    loss.total.backward()
    assert loss.parts["kl"] == pytest.approx(0, abs=1e-5) and taught.grad is None


def test_a_missing_or_foreign_teacher_is_refused() -> None:
    logits, target, teacher = case()
    for wrong in (None, teacher[:, :6]):
        with pytest.raises(ShapeError, match="vocabulary"):
            distil(logits, target, wrong)


def test_options_can_be_written_in_a_spec() -> None:
    logits, target, teacher = case()
    objective = plugins.make("objective", "distil:hard_share=1")
    assert objective(logits, target, teacher).total.item() == pytest.approx(
        distil(logits, target, teacher, hard_share=1.0).total.item()
    )
    assert {"distil", "xent"} <= set(plugins.names("objective"))
