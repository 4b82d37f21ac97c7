"""What all reproductions share: they are recipes, and figures have intervals."""

from __future__ import annotations

import math

from paceline import plugins
from paceline.recipes.reproduce._record import mean_of, table


def test_they_are_recipes() -> None:
    assert {"reproduce/glide_cape", "reproduce/longspec"} <= set(plugins.names("recipe"))
    assert "arXiv 2402.02082" in plugins.summary("recipe", "reproduce/glide_cape")


def test_intervals_over_seeds() -> None:
    mean = mean_of([1.0, 2.0, 3.0])
    assert mean == 2.0 and abs(mean.half - 4.303 / math.sqrt(3)) < 1e-3 and str(mean) == "2.00 ± 2.48"
    assert str(mean_of([1.5])) == "1.50" and mean_of([1.5]).bar == 0.0
    assert table(["a"], [[mean_of([1.0])]]) == "| a |\n| --- |\n| 1.00 |"
