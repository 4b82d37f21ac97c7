"""The first drafter with one budget, for everybody, always."""

from __future__ import annotations

import pytest

from paceline import SpecError, plugins
from paceline.controllers.fixed import Fixed
from paceline.core.arms import Arm, View


def test_every_row_gets_the_same_arm() -> None:
    assert Fixed(budget=5).pick([View(0, 10, 3), View(7, 1, 99)]) == [Arm(0, 5)] * 2
    assert Fixed().pick([]) == []


def test_many_rows_share_what_a_round_may_score() -> None:
    views = [View(i, 10, 50) for i in range(8)]
    assert Fixed().pick(views[:1])[0].budget == 16
    assert [arm.budget for arm in Fixed().pick(views)] == [2] * 8
    assert Fixed(budget=1).pick(views)[0].budget == 1 and Fixed(together=4).pick(views)[0].budget == 1
    assert Fixed(budget=0).pick(views)[0].budget == 0


def test_a_row_drafted_for_as_if_alone_shares_nothing() -> None:
    views = [View(i, 10, 50, alone=i == 0) for i in range(8)]
    assert [arm.budget for arm in Fixed().pick(views)] == [16, *[2] * 7]
    assert Fixed(together=4).pick(views)[0] == Fixed(together=4).pick(views[:1])[0] == Arm(0, 4)


def test_it_is_its_own_controller_and_keeps_nothing() -> None:
    options = Fixed(budget=5)
    assert options.attach(3) is options
    options.forget(7)


def test_its_options() -> None:
    assert plugins.make("controller", "fixed:budget=3") == Fixed(3)
    with pytest.raises(SpecError, match="budget >= 0"):
        Fixed(-1)
