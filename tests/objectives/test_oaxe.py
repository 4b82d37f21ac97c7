"""The best order by hand, against every order there is."""

from __future__ import annotations

import math

import pytest
import torch

from paceline.objectives.oaxe import Oaxe
from tests.sentences import costs_of, orders, sentences, xe

LENGTHS = (7, 1, 4, 0, 6, 2, 5, 3)


def test_equals_the_best_of_all_orders() -> None:
    logits, target = sentences(*LENGTHS)
    best = sum(c[range(len(c)), orders(len(c))].sum(1).min() for c in costs_of(logits, target))
    loss = Oaxe()(logits, target)
    assert loss.total.item() == pytest.approx(best, abs=1e-6) and loss.parts["matched"] == pytest.approx(best, abs=1e-5)
    assert loss.parts["xent"] == pytest.approx(xe(logits, target).total.item()) and loss.parts["kept"] == sum(LENGTHS)
    assert best < loss.parts["xent"] - 1 and 0 < loss.parts["moved"] <= sum(LENGTHS)


@pytest.mark.parametrize("margin", [0.0, 0.2])
def test_the_order_of_the_reference_does_not_matter(margin: float) -> None:
    logits, target = sentences(7)
    objective = Oaxe(margin=margin, smoothing=0.1)
    turned = target[:, [3, 0, 6, 2, 1, 5, 4]]
    assert objective(logits, turned).total.item() == pytest.approx(objective(logits, target).total.item(), abs=1e-9)


def test_two_orders_seen_equally_often_end_in_one_of_them() -> None:
    """What it is for: cross-entropy gives each word half of each place, the free order settles for one order."""
    target = torch.tensor([[0, 1], [1, 0]])
    best = {}
    for name, loss in {"xe": xe, "oaxe": Oaxe()}.items():
        logits = torch.tensor([[[0.1, 0.0, 0.0], [0.0, 0.0, 0.0]]]).requires_grad_()
        for _ in range(60):
            (slope,) = torch.autograd.grad(loss(logits.expand(2, -1, -1), target).total, logits)
            logits = (logits - slope).detach().requires_grad_()
        best[name] = logits.softmax(-1)[0].max(-1)
    assert best["xe"].values.tolist() == pytest.approx([0.5, 0.5], abs=0.02)
    assert best["oaxe"].values.min() > 0.98 and best["oaxe"].indices.tolist() == [0, 1]


def test_where_the_own_order_is_the_best_one_loss_and_gradient_are_those_of_cross_entropy() -> None:
    logits, target = sentences(5, 3)
    target = torch.arange(10).view(2, 5).where(target >= 0, -100)
    likely = (logits + 9 * torch.nn.functional.one_hot(target.clamp_min(0), 12)).requires_grad_()
    loss, plain = Oaxe()(likely, target), xe(likely, target)
    (found,), (expected,) = (torch.autograd.grad(each.total, likely) for each in (loss, plain))
    torch.testing.assert_close((loss.total, found), (plain.total, expected))
    assert loss.parts["moved"] == 0


def test_the_margin_is_a_probability_or_what_the_released_code_makes_of_it() -> None:
    """Probabilities 0.5, 0.1 and 0.05 of the only token; the code's 0.15 acts like 0.065."""
    p = torch.tensor([0.5, 0.1, 0.05], dtype=torch.float64)
    logits, target = torch.stack([p, 1 - p], -1).log()[:, None], torch.zeros(3, 1, dtype=torch.long)
    assert Oaxe(margin=0.15)(logits, target).total.item() == pytest.approx(-math.log(0.5))
    both = Oaxe(margin=0.15, compat=True)(logits, target)
    assert both.total.item() == pytest.approx(-math.log(0.5 * 0.1)) and both.parts["kept"] == 2


def test_the_gate_keeps_all_terms_until_enough_are_above_the_margin() -> None:
    """Two of the three above are: at 0.7 nothing is dropped, at 0.6 the third."""
    p = torch.tensor([0.5, 0.2, 0.05], dtype=torch.float64)
    logits, target = torch.stack([p, 1 - p], -1).log()[:, None], torch.zeros(3, 1, dtype=torch.long)
    for gate, chances in ((0.7, 0.5 * 0.2 * 0.05), (0.6, 0.5 * 0.2)):
        assert Oaxe(margin=0.15, gate=gate)(logits, target).total.item() == pytest.approx(-math.log(chances))
