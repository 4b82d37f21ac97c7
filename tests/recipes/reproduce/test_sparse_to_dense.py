"""Sparse-to-Dense's reproduction runs through at its smallest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from paceline.errors import RequestError
from paceline.recipes.reproduce import sparse_to_dense


def test_sparse_to_dense(tmp_path: Path) -> None:
    page = sparse_to_dense.run(sparse_to_dense.Config(out=tmp_path / "out", fast=True))
    data = json.loads(page.with_suffix(".json").read_text())
    assert "Accepted share by keys" in page.read_text() and page.with_suffix(".png").stat().st_size > 5000
    [found] = data["seeds"]
    arms = found["lengths"]["512"]["arms"]
    assert arms["plain"]["acceptance_length"] == 1.0 and {"streaming", "random", "LayerSkip"} < set(arms)
    assert all(0 <= share <= 1 for share in found["middle"].values()) and len(found["middle"]) == 22
    with pytest.raises(RequestError, match="at least 1"):
        sparse_to_dense.run(sparse_to_dense.Config(keys=0))
