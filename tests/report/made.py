"""Readings made by hand: a model of three layers and two heads, looked at on four texts."""

from __future__ import annotations

import torch

from paceline.core.reading import Figure, Reading
from paceline.report.look import Config, Look

TEXTS, LAYERS, HEADS, LAGS = 4, 3, 2, (0, 1, 2, 8)


def sinks(alpha: float = 0.6, massive: float = 50.0) -> Reading:
    """Head 1 of every layer sinks on the first key; the residual stream is massive there from layer 1 on."""
    each = torch.full((TEXTS, LAYERS, HEADS, 3), 0.05)
    each[:, :, 1, 0] = alpha + torch.linspace(-0.02, 0.02, TEXTS)[:, None]
    above = (each > 0.3).float()
    sizes = torch.ones(TEXTS, LAYERS)
    sizes[:, 1:] = massive
    values = {
        "alpha": Figure(each, ("layer", "head", "key"), "mean attention", 0.07),
        "sink": Figure(above.mean(2), ("layer", "key"), "share of heads", 0.0),
        "total": Figure(above.mean((1, 2)), ("key",), "share of heads", 0.0),
        "share": Figure(each[..., 0], ("layer", "head"), "share of attention"),
        "written": Figure(each[..., 0] / 2, ("layer", "head"), "share of attention times value norm"),
        "massive": Figure(sizes, ("layer",), "times the median norm", 1.0),
    }
    return Reading("sinks", values, "A head has a sink where alpha is above 0.3.", TEXTS)


def slash(score: float = 0.5) -> Reading:
    """Layer 0, head 0 looks back by one token."""
    each = torch.full((TEXTS, LAYERS, HEADS, len(LAGS)), 0.02)
    each[:, 0, 0, 1] = score
    ticks = {"lag": LAGS}
    values = {"score": Figure(each, ("layer", "head", "lag"), "attention", 0.01, ticks),
              "lift": Figure(each / 0.01, ("layer", "head", "lag"), "times the null level", 1.0, ticks)}
    return Reading("slash", values, "Far above the null level, a head looks there.", TEXTS)


def lazy(ratio: float = 0.9, null: float = 0.1) -> Reading:
    """The last layer is lazy."""
    each = torch.full((TEXTS, LAYERS), 0.3)
    each[:, 2] = ratio
    return Reading("lazy", {"lazy": Figure(each, ("layer",), "share of attention", null)}, "Near 1, nothing is lost.", TEXTS)


def seen(*readings: Reading, model: str = "made") -> Look:
    return Look(Config(model), readings or (sinks(), slash(), lazy()), {"rope_drift": "This model has no rotary embedding."})
