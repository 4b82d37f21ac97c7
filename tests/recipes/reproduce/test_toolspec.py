"""ToolSpec's reproduction runs through at its smallest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paceline.errors import RequestError
from paceline.recipes.reproduce import toolspec


def test_toolspec(tmp_path: Path) -> None:
    page = toolspec.run(toolspec.Config(out=tmp_path, work=tmp_path, fast=True))
    data = json.loads(page.with_suffix(".json").read_text())
    assert "Reference answers, replayed" in page.read_text() and page.with_suffix(".png").stat().st_size > 5000
    assert data["zoo"]["arms"]["plain"]["acceptance_length"]["value"] == 1.0
    assert data["replay"]["API-Bank"]["ToolSpec"]["value"] > data["replay"]["API-Bank"]["prompt lookup"]["value"] >= 1.0
    assert data["stores"]["10"]["past calls"]["value"] > data["stores"]["0"]["past calls"]["value"] == 1.0
    with pytest.raises(RequestError, match="at least 1"):
        toolspec.run(toolspec.Config(work=tmp_path, budget=0))
