"""Reproductions run through at their smallest, and say what they found; their figures are for the record, not for a test."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from paceline import plugins
from paceline.errors import RequestError
from paceline.recipes.reproduce import glide_cape, longspec, toolspec
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
