"""Figures: means, intervals and JSON."""

from __future__ import annotations

import math

import torch

from paceline.core.reading import Figure, Reading


def test_intervals_hold_the_mean_and_shrink_with_texts() -> None:
    random = torch.Generator().manual_seed(1)
    widths = []
    for texts in (8, 128):
        figure = Figure(torch.randn(texts, 3, generator=random), ("layer",), "share")
        low, high = figure.interval()
        assert (low < figure.mean).all() and (figure.mean < high).all()
        widths.append((high - low).mean())
    assert widths[1] < widths[0] / 2


def test_an_interval_of_a_statistic_that_is_no_mean() -> None:
    """The share of heads whose mean over texts passes a threshold: one text alone cannot move it."""
    figure = Figure(torch.tensor([[0.9, 0.1], [0.7, 0.1]]), ("head",), "share")
    low, high = figure.interval(lambda each: (each.mean(0) > 0.3).float().mean())
    assert low == high == 0.5


def test_json_has_no_nan() -> None:
    figure = Figure(torch.tensor([[1.0, math.nan], [2.0, math.nan]]), ("head",), "nats", torch.tensor([0.5]), {"head": [3, 4]})
    found = Reading("x", {"a": figure}, "how", 2, ("a note",)).to_json()["values"]["a"]
    assert found["mean"] == [1.5, None] and found["null"] == [0.5] and found["ticks"] == {"head": [3, 4]}
