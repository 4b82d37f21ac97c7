"""COOL-SD's reproduction runs through at its smallest; its comparisons by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from paceline.errors import DataError, RequestError
from paceline.recipes import images
from paceline.recipes.reproduce import cool_sd
from paceline.recipes.reproduce.cool_sd._images import frechet


def test_cool_sd(tmp_path: Path) -> None:
    digits = images.run(images.Config(out=tmp_path / "digits", fast=True))
    config = cool_sd.Config(digits=digits, out=tmp_path, work=tmp_path / "work", seeds=2, fast=True)
    page = cool_sd.run(config)
    data = json.loads(page.with_suffix(".json").read_text())
    assert "Fréchet distance" in page.read_text() and page.with_suffix(".png").stat().st_size > 5000
    runs = data["runs"]
    assert set(runs) == {"target again", "exact", "clamped 1.5", "uniform 1.5"} and all(len(r) == 2 for r in runs.values())
    assert all(r["acceptance_length"] == 1.0 and r["forwards"] == 64 for r in runs["target again"])
    assert all(r["spent"] == 0.0 for r in runs["exact"]) and all(r["spent"] > 0 for r in runs["clamped 1.5"])
    for relaxed, exact in zip(runs["clamped 1.5"], runs["exact"], strict=True):
        assert relaxed["acceptance_length"] > exact["acceptance_length"] > 1
    for part in data["speed"].values():
        assert part["plain"]["value"] == 1.0 and part["plain"]["acceptance_length"] == 1.0
        assert part["exact, L = 8"]["spent"] == 0.0 < part["clamped 1.1, L = 8"]["spent"]
        assert all(arm["low"] <= arm["value"] <= arm["high"] and arm["value"] > 0 for arm in part.values())
    cool_sd.run(config)
    assert json.loads(page.with_suffix(".json").read_text()) == data  # seconds and all: nothing was drawn again
    with pytest.raises(DataError, match="cook images"):
        cool_sd.run(cool_sd.Config(digits=tmp_path / "nowhere"))
    with pytest.raises(RequestError, match="at least"):
        cool_sd.run(cool_sd.Config(seeds=0))


def test_the_full_run_has_every_arm() -> None:
    names = list(cool_sd.arms(cool_sd.Config()))
    assert {"exact", "exact, L = 8", "clamped 1.1", "first 2", "reversed 1.5", "neighbour 0.1, lantern"} <= set(names)
    assert len(names) == 1 + 5 + 6 * 3 + 2 + 4


def test_schedules_are_compared_at_equal_length() -> None:
    """On the line from exact drafts on; without them where a schedule writes less."""
    def runs(*figures: tuple[float, float]) -> list[dict[str, float]]:
        return [{"acceptance_length": length, "spent": spent} for length, spent in figures]

    found = {"runs": {
        "exact": runs((4.0, 0.0), (3.0, 0.0)), "first 1.5": runs((4.4, 2.0), (3.4, 4.0)), "first 2": runs((5.0, 9.0), (4.0, 9.0)),
        "clamped 1.5": runs((4.2, 1.0), (3.4, 1.0)), "printed 1.5": runs((3.5, 2.0), (2.5, 2.0)),
        "printed 2": runs((4.5, 4.0), (3.5, 4.0)),
    }}  # fmt: skip
    assert cool_sd.spent_at(found, "first", 0.2).startswith("1.50 ±")
    assert cool_sd.spent_at(found, "clamped", 0.3) == "–"  # one of its seeds does not get there
    assert cool_sd.spent_at(found, "printed", 0.5).startswith("4.00 ±")


def test_frechet_distance() -> None:
    """Of normal sets with known means and spreads, and of a set with itself."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(100_000, 3)), rng.normal(size=(100_000, 3)) * [1.0, 2.0, 3.0] + [1.0, 0.0, 0.0]
    assert abs(frechet(a, a)) < 1e-9
    assert abs(frechet(a, b) - (1 + 0 + 1 + 4)) < 0.1
