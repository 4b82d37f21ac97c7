"""The study of attention sinks runs through at its smallest; its rows and shares by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from paceline.errors import RequestError
from paceline.models.small_lm import Shape
from paceline.probes.sinks import uniform
from paceline.recipes.reproduce import attention_sink
from paceline.recipes.reproduce.attention_sink._runs import Setting, importance
from paceline.recipes.reproduce.attention_sink._runs import rows as sink_rows


def test_attention_sink(tmp_path: Path) -> None:
    config = attention_sink.Config(out=tmp_path / "out", work=tmp_path / "work", model="zoo:tiny", seeds=1, fast=True)
    page = attention_sink.run(config)
    text, data = page.read_text(), json.loads(page.with_suffix(".json").read_text())
    assert "a key bias takes them" in text and page.with_suffix(".png").stat().st_size > 5000
    assert set(data["real"]) == {"text", "start token first", "random tokens", "one token"}
    assert all(0 < of["history"][0][-1]["mean"][0] < 1 for of in data["runs"].values())
    attention_sink.run(config)
    assert page.read_text() == text  # nothing was trained again
    with pytest.raises(RequestError, match="at least 1"):
        attention_sink.run(attention_sink.Config(seeds=0))


def test_sinks_are_counted_where_they_are() -> None:
    """All attention on an extra key, or on the second token; negative weights count by their size."""
    shape, even = Shape(bias="k"), torch.ones(1, 1, 1, 8, 8).tril()
    extra = torch.cat((torch.ones(1, 1, 1, 8, 1), torch.zeros(1, 1, 1, 8, 8)), -1)
    assert importance(shape, extra)[0, 0, 0].tolist() == [1, 0, 0, 0, 0]
    second = torch.zeros(1, 1, 1, 8, 8)
    second[..., 1], second[..., 0, :2] = -5, torch.tensor([1.0, 0.0])
    assert importance(Shape(), second)[0, 0, 0].tolist() == [0.125, 1, 0, 0]
    torch.testing.assert_close(importance(Shape(), even)[0, 0, 0], uniform(8)[:4])


def test_a_row_of_the_study_begins_as_its_setting_says() -> None:
    text = np.full(1000, 50, dtype=np.uint8)
    for setting, first in ((Setting(), [1, 50, 50]), (Setting(start=1), [50, 1, 50]), (Setting(start=None), [50, 50, 50])):
        assert (sink_rows(text, setting, 4, 9, [0])[:, :3] == torch.tensor(first)).all()
    drawn = sink_rows(text, Setting(start=None, random=(0, 1)), 64, 9, [0])
    assert drawn[:, :2].unique().numel() > 40 and drawn.min() > 1 and (drawn[:, 2:] == 50).all()
