"""Warm-up, stable, decay."""

from __future__ import annotations

import pytest

from paceline import SpecError
from paceline.train.schedule import SHAPES, falling, wsd


@pytest.mark.parametrize("steps", [1, 7, 100, 1000])
def test_rises_holds_and_falls(steps: int) -> None:
    factors = [wsd(i, steps) for i in range(steps)]
    assert all(0 < f <= 1 for f in factors)
    top = factors.index(max(factors))
    assert factors[: top + 1] == sorted(factors[: top + 1])
    last = len(factors) - 1 - factors[::-1].index(max(factors))
    assert factors[last:] == sorted(factors[last:], reverse=True)


def test_the_three_parts_are_where_they_should_be() -> None:
    assert wsd(0, 1000, warmup=0.1) == pytest.approx(0.01)
    assert wsd(99, 1000, warmup=0.1) == 1 and wsd(600, 1000, decay=0.35) == 1
    assert wsd(999, 1000, decay=0.35, floor=0.02) == pytest.approx(0.02)
    assert wsd(825, 1000, decay=0.35, floor=0.0) == pytest.approx(174 / 350)


@pytest.mark.parametrize("shape", SHAPES)
def test_falls_from_one_to_zero(shape: str) -> None:
    factors = [falling(step, 11, shape) for step in range(-2, 14)]
    assert factors[:3] == [1, 1, 1] and factors[-4:] == pytest.approx([0, 0, 0, 0], abs=1e-12)
    assert factors == sorted(factors, reverse=True) and len(set(factors)) == 11


def test_the_shapes_differ_in_the_middle() -> None:
    assert [falling(5, 11, s) for s in ("linear", "cosine", "inverse_sigmoid")] == pytest.approx([0.5, 0.5, 0.5])
    assert falling(5, 11, "exponential") < 0.1 and falling(2, 11, "inverse_sigmoid") > falling(2, 11, "cosine") > falling(2, 11)
    with pytest.raises(SpecError, match="Did you mean 'cosine'"):
        falling(1, 2, "cosin")
