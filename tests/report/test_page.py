"""The page: complete in itself, every head on it, whatever is left out said; and the terminal's lines."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser
from typing import Any

import pytest
import torch
from rich.console import Console

from paceline.core.reading import Figure, Reading
from paceline.errors import ModelError
from paceline.report.diff import Diff, chance, changes, difference
from paceline.report.page import page
from paceline.report.show import show
from paceline.report.table import Bar, along, bars, number
from paceline.report.view import View
from tests.report.made import TEXTS, lazy, seen, sinks, slash


def checked(text: str) -> str:
    """The page, once every tag of it is closed and nothing is loaded from elsewhere."""
    opened: list[str] = []

    class Check(HTMLParser):
        def handle_starttag(self, tag: str, attrs: Any) -> None:
            opened.extend([tag] if tag not in ("meta", "line", "circle", "polyline", "path", "rect") else [])

        def handle_endtag(self, tag: str) -> None:
            assert tag in ("line", "circle", "polyline", "path", "rect") or opened.pop() == tag

    Check().feed(text)
    assert opened == [] and not re.search(r"(src|href)=|url\(|@import|https?:", text)
    return text


def test_every_head_stands_on_a_page_that_loads_nothing() -> None:
    text = checked(page(View(seen())))
    assert len(re.findall(r'class="cell ', text)) == 6 and 'class="cell slash"' in text
    assert "50% of the heads (50% to 50%) have a sink" in text and "Of 6 heads" in text
    assert "lighttransfer:keep=0.67" in text and "Left out: rope_drift: This model has no rotary embedding." in text


def test_names_are_escaped_and_single_probes_make_a_page() -> None:
    assert "&lt;b&gt;" in checked(page(View(seen(lazy(), model="<b>")))) and 'class="cell' not in page(View(seen(lazy())))


def test_drift_at_one_length_makes_a_page() -> None:
    drift = Figure(torch.rand(TEXTS, 2, 1, 1), ("mode", "shift", "length"), "attention moved", None,
                   {"mode": ["bf16", "fp32"], "length": ["64"]})
    text = checked(page(View(seen(Reading("rope_drift", {"drift": drift}, "How to read it.", TEXTS)))))
    assert "bf16" in text and "<svg" in text


def test_a_probe_that_the_report_does_not_know_has_its_figures_shown() -> None:
    figures = {"width": Figure(torch.rand(TEXTS, 3, 2), ("layer", "head"), "nats"),
               "whole": Figure(torch.rand(TEXTS), (), "nats"),
               "map": Figure(torch.rand(TEXTS, 3, 2, 4), ("layer", "head", "place"), "nats")}
    text = checked(page(View(seen(Reading("entropy", figures, "How to read it.", TEXTS)))))
    assert "How to read it." in text and "width, nats" in text and "map, nats" in text and "layer / place" in text


def test_the_terminal_says_the_same_in_few_lines() -> None:
    out = Console(file=io.StringIO(), width=100)
    show(View(seen()), out)
    text = out.file.getvalue()  # type: ignore[attr-defined]
    assert "thirds of the depth: 50% / 50% / 50%" in text and "Laziest layers: 2 (0.90)" in text and "0.0" in text


def test_a_difference_counts_where_it_is_beyond_its_interval() -> None:
    before, after = slash(0.5), slash(0.2)
    made = difference(before.values["score"], after.values["score"])
    assert changes(made).sum() == 1 and float(made.mean[0, 0, 1]) == pytest.approx(-0.3)
    noisy = Figure(torch.tensor([-1.0, 1.0, -1.0, 1.0])[:, None], ("layer",), "nats")
    assert not changes(noisy).any()
    with pytest.raises(ModelError, match="two checkpoints of one model"):
        difference(before.values["score"], lazy().values["lazy"])


def test_two_checkpoints_are_told_by_what_changed() -> None:
    text = checked(page(Diff(seen(), seen(sinks(), slash(0.05), lazy(), model="later"))))
    assert "made → later" in text and "1 of 6 heads have another role now." in text
    assert "layer 0, head 0, lag 1" in text and "-0.45" in text
    assert len(re.findall(r'class="cell \w+( unsure)? ringed"', text)) == 1 and "<h2 id=\"lazy\">Lazy layers" in text


def test_chance_finds_more_in_few_texts() -> None:
    assert 0.04 < chance(64) < 0.06 < chance(16) < 0.09 < 0.15 < chance(4) and chance(1) == 0


def test_bars_carry_interval_null_and_scale() -> None:
    each, null = torch.tensor([[[0.2, 0.4]], [[0.4, 0.6]]]), torch.tensor([[0.1, 0.3]])
    figure = Figure(each, ("layer", "head"), "share of attention", null)
    [bar] = bars(along(figure, "layer"))
    assert bar.value == pytest.approx(0.4) and bar.null == pytest.approx(0.2) and bar.full == 1.0
    assert bar.low == pytest.approx(0.3) and bar.high == pytest.approx(0.5) and str(bar) == "0.40 [0.30, 0.50]"
    assert 'width="40.0"' in bar.svg and "M20.0 0V12" in bar.svg
    assert str(Bar(3.0)) == "3.00" and number(float("nan")) == "–" and number(0.0) == "0.000"
