"""Advice follows from figures: other figures, other advice or none."""

from __future__ import annotations

from dataclasses import replace

import torch

from paceline.core.reading import Figure, Reading
from paceline.report.advice import advice, ranges
from tests.report.made import lazy, sinks, slash


def said(*readings: Reading) -> str:
    return " ".join(f"{a.finding} {a.action} {a.command or ''}" for a in advice(readings, "my/model"))


def test_lazy_layers_name_the_conversion_and_what_it_saves() -> None:
    text = said(lazy())
    assert "1 of 3 layers" in text and "paceline convert my/model --selector lighttransfer:keep=0.67 --out DIR" in text
    assert "71% of the memory" in text  # 2/3 + 1/3 * 1024 / 8192
    assert "No layer of 3 is lazy" in said(lazy(ratio=0.5)) and "convert" not in said(lazy(ratio=0.5))
    assert advice([lazy(null=0.5)], "m") == []


def test_a_sink_stays_in_the_cache_only_where_there_is_one() -> None:
    assert "50% of the heads sink on the first token" in said(sinks()) and "the first 4 tokens" in said(sinks())
    assert "Hardly any head has a sink" in said(sinks(alpha=0.1))


def test_massive_activations_ask_for_blocks() -> None:
    assert "50 times" in said(sinks()) and "(layers 1 to 2)" in said(sinks())
    assert "per block" not in said(sinks(massive=3.0))
    hybrid = sinks()
    massive = replace(hybrid.values["massive"], ticks={"layer": [2, 5, 8]})
    assert "(layers 5, 8)" in said(replace(hybrid, values={"massive": massive}))


def test_slash_heads_name_the_window_that_holds_them() -> None:
    assert "1 head looks back by 1 token" in said(slash()) and "a window of 2 keys" in said(slash())
    assert "No head looks back" in said(slash(score=0.05))


def test_drift_is_told_against_fp32() -> None:
    def drifted(half: float) -> Reading:
        each = torch.tensor([half, 1e-5])[None, :, None, None]
        figure = Figure(each, ("mode", "shift", "length"), "attention moved", None, {"mode": ("bf16", "fp32")})
        return Reading("rope_drift", {"drift": figure}, "", 1)

    assert "1,000 times as far" in said(drifted(1e-2)) and advice([drifted(2e-5)], "m") == []


def test_ranges_of_layers() -> None:
    assert ranges([3, 4, 5, 9, 11, 12]) == "3 to 5, 9, 11 to 12" and ranges([]) == ""
