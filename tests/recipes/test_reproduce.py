"""Reproductions run through at their smallest, and say what they found; their figures are for the record, not for a test."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from paceline import plugins
from paceline.errors import DataError, RequestError
from paceline.recipes import images
from paceline.recipes.reproduce import cool_sd, glide_cape, longspec, toolspec
from paceline.recipes.reproduce._images import frechet
from paceline.recipes.reproduce._record import mean_of, table


def test_they_are_recipes() -> None:
    assert {"reproduce/glide_cape", "reproduce/longspec"} <= set(plugins.names("recipe"))
    assert "arXiv 2402.02082" in plugins.summary("recipe", "reproduce/glide_cape")


def test_glide_with_a_cape(tmp_path: Path) -> None:
    page = glide_cape.run(glide_cape.Config(out=tmp_path / "out", work=tmp_path / "work", fast=True, tokens=20_000))
    text, data = page.read_text(), json.loads(page.with_suffix(".json").read_text())
    assert "points over no reading" in text and "CaPE's candidates add" in text and page.with_suffix(".png").stat().st_size > 5000
    assert set(data["seeds"][0]["agreement"]) == {"glide", "small"}
    assert set(data["ablations"][0]["agreement"]) == {"glide", "glide-causal", "glide-8", "glide-2"} and "mask over" in text
    assert all(1 <= length <= 6 for kinds in data["seeds"][0]["decoding"].values() for length in kinds.values())
    with pytest.raises(RequestError, match="at least 1"):
        glide_cape.run(glide_cape.Config(seeds=0))


def test_longspec(tmp_path: Path) -> None:
    page = longspec.run(longspec.Config(out=tmp_path / "out", work=tmp_path / "work", fast=True))
    data = json.loads(page.with_suffix(".json").read_text())
    assert "offset over plain" in page.read_text() and page.with_suffix(".png").stat().st_size > 5000
    assert len({step["bytes"] for step in data["steps"]}) == 1
    assert all(a["apart"] < 1e-5 and a["own"] < a["mask"] / 10 for a in data["attention"])
    with pytest.raises(RequestError, match="copy_steps"):
        longspec.run(longspec.Config(copy_steps=1))


def test_intervals_over_seeds() -> None:
    mean = mean_of([1.0, 2.0, 3.0])
    assert mean == 2.0 and abs(mean.half - 4.303 / math.sqrt(3)) < 1e-3 and str(mean) == "2.00 ± 2.48"
    assert str(mean_of([1.5])) == "1.50" and mean_of([1.5]).bar == 0.0
    assert table(["a"], [[mean_of([1.0])]]) == "| a |\n| --- |\n| 1.00 |"


def test_toolspec(tmp_path: Path) -> None:
    page = toolspec.run(toolspec.Config(out=tmp_path, fast=True))
    data = json.loads(page.with_suffix(".json").read_text())
    assert "Reference answers, replayed" in page.read_text() and page.with_suffix(".png").stat().st_size > 5000
    assert data["zoo"]["arms"]["plain"]["acceptance_length"]["value"] == 1.0
    assert data["replay"]["API-Bank"]["ToolSpec"]["value"] > data["replay"]["API-Bank"]["prompt lookup"]["value"] >= 1.0
    assert data["stores"]["10"]["past calls"]["value"] > data["stores"]["0"]["past calls"]["value"] == 1.0
    with pytest.raises(RequestError, match="at least 1"):
        toolspec.run(toolspec.Config(budget=0))


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
