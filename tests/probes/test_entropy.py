"""Entropy of rows on constructed values."""

from __future__ import annotations

import math

import pytest
import torch

from paceline import probe
from paceline.probes.entropy import entropy
from paceline.testing import tiny_model


def test_entropy_of_known_rows() -> None:
    rows = torch.tensor([[1.0, 0, 0, 0], [0.5, 0.5, 0, 0], [0.25] * 4])
    torch.testing.assert_close(entropy(rows), torch.tensor([0, math.log(2), math.log(4)]))


@pytest.mark.parametrize("window", [None, 8])
def test_queries_of_nothing_reach_the_null_level(window: int | None) -> None:
    """Where queries are zero, all keys get the same: the figure is its own null level."""
    model = tiny_model("mistral", sliding_window=window)
    for layer in model.model.layers:
        layer.self_attn.q_proj.weight.data.zero_()
    (reading,) = probe(model, "entropy", [[4, 5, 6, 7] * 8, [9, 8, 7] * 11], length=32)
    figure = reading.values["entropy"]
    assert reading.texts == 2 and figure.each.shape == (2, 3, 4) and figure.axes == ("layer", "head")
    torch.testing.assert_close(figure.mean, figure.null.expand(3, 4), atol=1e-5, rtol=0)
