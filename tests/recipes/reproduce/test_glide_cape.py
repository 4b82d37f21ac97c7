"""GliDe with a CaPE's reproduction runs through at its smallest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paceline.errors import RequestError
from paceline.recipes.reproduce import glide_cape


def test_glide_with_a_cape(tmp_path: Path) -> None:
    page = glide_cape.run(glide_cape.Config(out=tmp_path / "out", work=tmp_path / "work", fast=True, tokens=20_000))
    text, data = page.read_text(), json.loads(page.with_suffix(".json").read_text())
    assert "points over no reading" in text and "CaPE's candidates add" in text and page.with_suffix(".png").stat().st_size > 5000
    assert set(data["seeds"][0]["agreement"]) == {"glide", "small"}
    assert set(data["ablations"][0]["agreement"]) == {"glide", "glide-causal", "glide-8", "glide-2"} and "mask over" in text
    assert all(1 <= length <= 6 for kinds in data["seeds"][0]["decoding"].values() for length in kinds.values())
    with pytest.raises(RequestError, match="at least 1"):
        glide_cape.run(glide_cape.Config(seeds=0))
