"""Assignments side by side against scipy's, one after the other."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor

from paceline import ModelError
from paceline.objectives import _assign
from paceline.objectives._assign import assign, by_sentence, hungarian, side_by_side
from paceline.objectives._auction import TOLERANCE, auction

SIZES = torch.tensor([12, 1, 0, 7, 2, 11])


def matrices() -> dict[str, Tensor]:
    """Costs as they come, with many equal ones, nearly all equal, and with some that stand for the impossible."""
    dice = torch.Generator().manual_seed(0)
    plain = torch.rand(6, 12, 12, generator=dice) * 20
    return {"plain": plain, "equal": plain[:, :, torch.arange(12) // 3], "whole": plain.div(5).round(), "flat": plain * 1e-6,
            "impossible": plain.masked_fill(torch.rand(6, 12, 12, generator=dice) < 0.6, 1e4)}


def paid(costs: Tensor, order: Tensor) -> Tensor:
    """The sum of each sentence, whose positions must hold each token once."""
    assert order.sort(1).values.equal(torch.arange(12).expand(6, 12))
    inside = torch.arange(12) < SIZES[:, None]
    assert ((order < SIZES[:, None]) == inside).all()
    return (costs.double().gather(2, order[..., None])[..., 0] * inside).sum(1)


@pytest.mark.parametrize("kind", matrices())
def test_an_auction_finds_what_scipy_finds(kind: str) -> None:
    costs = matrices()[kind]
    order, solved = auction(costs, SIZES)
    assert solved.all()
    assert (paid(costs, order) - paid(costs, by_sentence(costs, SIZES, hungarian))).abs().max() <= TOLERANCE


def test_what_an_auction_does_not_solve_goes_to_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = matrices()["plain"]
    _, solved = auction(costs, SIZES, rounds=2)
    assert solved.any() and not solved.all()
    assert side_by_side(costs, SIZES, rounds=2).equal(assign(costs, SIZES))


def test_only_the_sentences_own_blocks_are_handed_over() -> None:
    seen = []
    by_sentence(matrices()["plain"], SIZES, lambda costs: seen.append(costs.shape) or hungarian(costs))
    assert seen == [(int(n), int(n)) for n in SIZES]


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ModelError, match=r"paceline\[translate\]"):
        _assign.assign(matrices()["plain"], SIZES)
