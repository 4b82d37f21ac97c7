"""The reproduction of bf16 drift runs through at its smallest, and its record says what was found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from paceline.errors import RequestError
from paceline.recipes.reproduce import rope_drift
from paceline.recipes.reproduce.rope_drift._page import cells, over_even


def test_rope_drift(tmp_path: Path) -> None:
    page = rope_drift.run(rope_drift.Config(out=tmp_path / "out", work=tmp_path / "work", fast=True))
    text, data = page.read_text(), json.loads(page.with_suffix(".json").read_text())
    assert "Where the sink is, there is the drift" in text and page.with_suffix(".png").stat().st_size > 5000
    modes = data["long"][0]["ticks"]["mode"]
    for part in data["long"]:
        drift = dict(zip(modes, torch.tensor(part["drift"])[0, :, 0], strict=True))
        assert (drift["bf16"] > 100 * drift["fp32"]).all() and (drift["bf16-angles"] > drift["bf16"]).all()
    whole = [torch.tensor(data[f"pretrained, {dtype}"]["drift"]).mean() for dtype in ("bf16", "fp32")]
    assert whole[0] > 100 * whole[1] and len([name for name in data if name.startswith("untrained")]) == 3
    masked, as_it_is = (torch.tensor(data["sinks"][arm]["by_key"])[..., 0] for arm in ("first key masked", "as it is"))
    assert (masked == 0).all() and (as_it_is > 0).all()
    for bad in ({"texts": 0}, {"texts": 6}, {"every": 0}):
        with pytest.raises(RequestError, match="1 to 5 texts"):
            rope_drift.run(rope_drift.Config(**bad))


def test_a_key_is_held_against_an_even_share() -> None:
    part = {"by_key": [[[[4.0, 1.0, 0.5]]]], "drift": [[[[9.9, 8.0]]]], "ticks": {"length": [2, 4]}}
    assert over_even(part).tolist() == [[2.0, 0.5, 0.25]]
    assert cells(torch.tensor([[1.0, 2.0], [3.0, 2.0]])) == ["2 ± 13", "2"]
