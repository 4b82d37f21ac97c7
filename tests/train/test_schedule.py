"""Warm-up, stable, decay."""

from __future__ import annotations

import pytest

from paceline.train.schedule import wsd


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
