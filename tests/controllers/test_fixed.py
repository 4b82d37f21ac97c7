"""The first drafter with one budget, for everybody, always."""

from __future__ import annotations

import pytest

from paceline import SpecError, plugins
from paceline.arm import Arm, View
from paceline.controllers.fixed import Fixed


def test_every_row_gets_the_same_arm() -> None:
    assert Fixed(budget=5).pick([View(0, 10, 3), View(7, 1, 99)]) == [Arm(0, 5)] * 2
    assert Fixed().pick([]) == []


def test_its_options() -> None:
    assert plugins.make("controller", "fixed:budget=3") == Fixed(3)
    with pytest.raises(SpecError, match="budget must be 0 or more"):
        Fixed(-1)
