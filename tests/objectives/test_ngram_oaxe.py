"""The three readings of "phrases move", each against every order that it allows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from paceline import SpecError
from paceline.objectives import _phrases
from paceline.objectives._assign import assign
from paceline.objectives._blocks import best_blocks
from paceline.objectives.ngram_oaxe import VARIANTS, NgramOaxe
from paceline.objectives.oaxe import Oaxe
from tests.sentences import costs_of, orders, sentences, xe

LENGTHS = (7, 1, 4, 0, 6, 2, 5, 3)


def windows_by_hand(costs: np.ndarray, n: int) -> float:
    """Each order of the windows; each label weighs one over the windows on its position."""
    count = len(costs) - n + 1
    over = [sum(first <= i < first + n for first in range(count)) for i in range(len(costs))]
    window = np.array([[sum(costs[i + j, k + j] / over[i + j] for j in range(n)) for k in range(count)] for i in range(count)])
    return window[range(count), orders(count)].sum(1).min()


def tiling_by_hand(costs: np.ndarray, n: int) -> float:
    whole = len(costs) // n
    rest = np.arange(whole * n, len(costs))
    placed = [np.concatenate([*(np.arange(n) + n * tile for tile in order), rest]).astype(int) for order in orders(whole)]
    return costs[range(len(costs)), placed].sum(1).min()


def blocks_by_hand(costs: np.ndarray, n: int) -> float:
    """The orders whose runs of neighbours all have n tokens or more."""
    runs = [np.split(order, np.flatnonzero(np.diff(order) != 1) + 1) for order in orders(len(costs))]
    placed = [np.concatenate(parts) for parts in runs if min(map(len, parts)) >= n]
    return costs[range(len(costs)), placed].sum(1).min()


BY_HAND = {"windows": windows_by_hand, "tiling": tiling_by_hand, "blocks": blocks_by_hand}


def total(objective: Callable, logits: torch.Tensor, target: torch.Tensor) -> float:
    return objective(logits, target).total.item()


@pytest.mark.parametrize("n", [1, 2, 3, 4])
@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_the_best_order_by_hand(variant: str, n: int) -> None:
    logits, target = sentences(*LENGTHS, seed=n)
    best = sum(BY_HAND[variant](costs, min(n, len(costs))) for costs in costs_of(logits, target) if len(costs))
    assert total(NgramOaxe(n=n, variant=variant), logits, target) == pytest.approx(best, abs=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_phrases_of_one_token_are_oaxe_and_whole_sentences_cross_entropy(variant: str) -> None:
    logits, target = sentences(9, 5, 2)
    assert total(NgramOaxe(n=1, variant=variant, margin=0.1), logits, target) == total(Oaxe(margin=0.1), logits, target)
    assert total(NgramOaxe(n=9, variant=variant), logits, target) == pytest.approx(xe(logits, target).total.item(), abs=1e-9)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_curriculum_leads_from_cross_entropy_to_phrases(variant: str) -> None:
    logits, target = sentences(9, 5, 2)
    whole, middle, end = (NgramOaxe(n=2, variant=variant, curriculum=share) for share in (1.0, 0.5, 0.0))
    assert total(whole, logits, target) == pytest.approx(xe(logits, target).total.item(), abs=1e-9)
    assert middle.lengths(torch.tensor([9, 5, 2, 0])).tolist() == [6, 4, 2, 1]
    assert end.lengths(torch.tensor([9, 5, 2, 1])).tolist() == [2, 2, 2, 1]


@pytest.mark.parametrize("n", [2, 3, 4])
@pytest.mark.parametrize("variant", VARIANTS)
def test_where_the_own_order_is_right_it_is_cross_entropy(variant: str, n: int) -> None:
    logits, _ = sentences(8)
    target = torch.arange(8)[None]
    likely = logits + 9 * torch.nn.functional.one_hot(target, 12)
    assert total(NgramOaxe(n=n, variant=variant), likely, target) == pytest.approx(xe(likely, target).total.item(), abs=1e-9)


def test_bounds_hold() -> None:
    """OaXE <= blocks and tiling <= XE; blocks rise with n, and a tiling without a rest is one of their orders. Windows keep to no
    bound."""
    for seed in range(8):
        logits, target = sentences(8, 8, 4, seed=seed)
        least, most = total(Oaxe(), logits, target), xe(logits, target).total.item()
        blocks, tiling = ([total(NgramOaxe(n=n, variant=v), logits, target) for n in range(1, 9)] for v in ("blocks", "tiling"))
        assert least - 1e-5 <= blocks[0] and blocks == sorted(blocks) and blocks[-1] <= most + 1e-9
        assert least - 1e-5 <= min(tiling) and max(tiling) <= most + 1e-9
        assert blocks[1] <= tiling[1] + 1e-5 and blocks[3] <= tiling[3] + 1e-5


@pytest.mark.parametrize(("variant", "expected"), [("windows", [8, 4, 1, 0]), ("tiling", [3, 2, 1, 0])])
def test_longer_phrases_are_fewer_to_assign(variant: str, expected: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(_phrases, "assign", lambda costs, sizes: asked.extend(sizes.tolist()) or assign(costs, sizes))
    NgramOaxe(n=3, variant=variant)(*sentences(10, 6, 2, 0))
    assert asked == expected


def test_a_narrow_search_ends_between_the_best_order_and_the_references_own() -> None:
    (costs,) = costs_of(*sentences(12))
    cost = lambda width: costs[range(12), best_blocks(costs, 2, width)].sum()  # noqa: E731
    exact, narrow, own = cost(256), cost(3), np.trace(costs)
    assert exact <= narrow < own and exact < own - 1 and cost(1) == pytest.approx(own)


def test_a_tiling_sees_whole_phrases_only() -> None:
    logits, target = sentences(6)
    tiling = NgramOaxe(n=2, variant="tiling")
    assert total(tiling, logits, target[:, [4, 5, 0, 1, 2, 3]]) == pytest.approx(total(tiling, logits, target), abs=1e-9)
    assert abs(total(tiling, logits, target[:, [1, 0, 2, 3, 4, 5]]) - total(tiling, logits, target)) > 0.1


@pytest.mark.parametrize(("n", "windows"), [(1, 0.9), (2, 5.8), (3, 10.7), (4, 18.05)])
def test_a_margin_takes_out_the_seam_of_two_phrases_that_changed_places(n: int, windows: float) -> None:
    """Nine tokens that the model turned by five, at 0.1 nats each, all others at 5: for blocks nothing is wrong."""
    law = torch.full((1, 9, 10), -5.0, dtype=torch.float64).exp()
    law[0, range(9), torch.arange(9).roll(-5)] = torch.tensor(-0.1, dtype=torch.float64).exp()
    law[..., 9] = 1 - law[..., :9].sum(-1)
    logits, target = law.log(), torch.arange(9)[None]
    assert total(NgramOaxe(n=n, variant="blocks"), logits, target) == pytest.approx(0.9, abs=1e-6)
    assert total(NgramOaxe(n=n), logits, target) == pytest.approx(windows, abs=1e-6)
    kept = NgramOaxe(n=n, margin=0.15)(logits, target)
    assert kept.total.item() == pytest.approx(0.1 * kept.parts["kept"], abs=1e-6) and 5 < kept.parts["kept"] <= 9


@pytest.mark.parametrize(("options", "problem"), [
    ({"n": 0}, "n >= 1"), ({"curriculum": 1.5}, "curriculum"), ({"variant": "window"}, "Did you mean 'windows'"),
    ({"margin": 1.0}, "ngram_oaxe needs 0 <= margin < 1"),
])  # fmt: skip
def test_options_out_of_range_are_refused(options: dict, problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        NgramOaxe(**options)
