"""What is advised from given figures, and that only what an engine has is said of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from paceline.doctor.advice import verdict
from paceline.doctor.elsewhere import elsewhere
from paceline.doctor.page import page
from paceline.doctor.plot import chart, nice
from paceline.doctor.report import rows, show


def spread(value: float, width: float = 0.05) -> dict[str, float]:
    return {"value": value, "low": value - width, "high": value + width}


def candidate(drafter: str, measured: float, modelled: float | None = None, **changes: Any) -> dict[str, Any]:
    parts = {"plain_round_seconds": 0.01, "draft_seconds": 0.001, "forward_seconds": 0.011, "host_seconds": 0.0005,
             "catching_up_seconds": 0.0, "break_even_length": 1.25}
    return {"drafter": drafter, "budget": 16, "rows": 1, "acceptance_length": spread(1.9), "above_acceptance": False,
            "modelled_acceptance_length": spread(2.0), "accept_per_position": [0.6, 0.3, 0.1],
            "drafted_per_round": 4.0, "modelled": spread(modelled or measured), "modelled_without_prefill": spread(1.6),
            "measured": spread(measured), "prediction_error": 0.03, "identical": 1.0, "round": parts, "weight_bytes": 0,
            "failures": []} | changes


def report(*judged: dict[str, Any], slope: float = 0.03, prefill: float = 0.1, **changes: Any) -> dict[str, Any]:
    curve = {str(n): 1 + slope * (n - 1) for n in (1, 2, 4, 8, 16, 32, 64)}
    made: dict[str, Any] = {
        "settings": {"model": "my/model", "replay": None, "prompts": None, "data": None, "max_new_tokens": 8, "repeats": 1},
        "model": {"parameters": 1e9, "dtype": "float32", "forward": "lean", "device": "cpu"}, "grown": False,
        "machine": {"threads": 1, "processor": "P", "accelerator": None}, "prompts": [3, 4], "dropped_prompts": 1,
        "cost": {"relative": {"1": curve, "4": curve}, "prefix": 50}, "candidates": list(judged),
        "plain": {k: {"round_seconds": 0.01, "prefill_share": prefill, "prompts": 12, "noise": spread(1.0, 0.02)}
                  for k in ("1", "4")}, "median_prediction_error": 0.03,
        "memory": {"weight_bytes": 4e9, "key_bytes_per_token": 1e5, "peak_bytes": 5e9},
        "skipped": [{"drafter": "glide", "why": "it has <no> head"}],
    } | changes  # fmt: skip
    return made | {"verdicts": [verdict(made, 1)]}


def test_the_fastest_by_both_halves_is_advised() -> None:
    found = verdict(report(candidate("ngram", 1.5, 1.1), candidate("suffix", 1.4, 1.4)), 1)
    assert found["pays"] and (found["drafter"], found["budget"]) == ("suffix", 16)
    assert found["sentence"].startswith("Draft: suffix") and "1.40x [1.35, 1.45]" in found["sentence"]
    assert "--drafter suffix --budget 16" in found["settings"]["paceline"]


@pytest.mark.parametrize(("measured", "modelled", "words"), [
    (0.9, 0.9, "of its speed."), (1.03, 1.1, "cannot be told from no gain"), (1.2, 0.9, "came to 1.20x"),
])  # fmt: skip
def test_plain_decoding_is_best_where_nothing_clearly_pays(measured: float, modelled: float, words: str) -> None:
    found = verdict(report(candidate("ngram", measured, modelled), candidate("suffix", 0.5)), 1)
    assert not found["pays"] and found["drafter"] is None and found["settings"] == {}
    assert found["sentence"].startswith("Plain decoding is best") and words in found["sentence"]
    assert any("break even" in reason for reason in found["reasons"])


def test_the_reasons_name_prices() -> None:
    cheap, dear = (verdict(report(candidate("ngram", 0.9), slope=slope), 1)["reasons"] for slope in (0.03, 1.0))
    assert "A forward of 2 tokens costs 1.03 plain steps" in cheap[0] and "of 16 1.45" in cheap[0]
    assert "takes 1.25 plain rounds" in cheap[1] and "it gives 2.00" in cheap[1]
    assert "accepted in 60% of all rounds; drafting a single one pays from 6% on" in cheap[2]  # 3 to check, 2.5 to draft
    assert "never" in dear[2]
    assert any("Reading the prompts" in r for r in verdict(report(candidate("ngram", 0.9), prefill=0.5), 1)["reasons"])


def test_each_number_of_rows_has_a_verdict_of_its_own() -> None:
    made = report(candidate("ngram", 1.5), candidate("ngram", 0.8, rows=4))
    assert verdict(made, 1)["pays"] and not verdict(made, 4)["pays"] and "with 4 rows together" in verdict(made, 4)["sentence"]


def test_without_candidates_it_says_so() -> None:
    assert "no drafter could be tried" in verdict(report(), 1)["sentence"]


def test_other_engines_get_the_length_that_pays_at_these_costs_or_nothing() -> None:
    steady = [0.9**i for i in range(1, 17)]
    found = verdict(report(candidate("ngram", 1.5, accept_per_position=steady)), 1)["settings"]
    poor = verdict(report(candidate("ngram", 1.5, accept_per_position=[0.02])), 1)["settings"]
    config = json.loads(found["vllm"].split("--speculative-config '")[1].rstrip("'"))
    assert config["method"] == "ngram" and 4 < config["num_speculative_tokens"] <= 16 and set(poor) == {"paceline", "python"}
    grown = verdict(report(candidate("ngram", 1.5), grown=True), 1)["settings"]
    assert set(grown) == {"paceline", "python"}


@pytest.mark.parametrize(("spec", "engines"), [
    ("ngram", ["vllm", "sglang", "transformers"]), ("suffix", ["vllm"]),
    ("small_model:model=my/draft", ["vllm", "sglang", "transformers"]), ("small_model:model=my/draft,beam=4", []),
    ("cape:inner=glide", []), ("longspec", []), ("merge:inner=[[ngram],[suffix]]", []),
])  # fmt: skip
def test_only_methods_that_an_engine_has_are_named(spec: str, engines: list[str]) -> None:
    found = elsewhere(spec, "my/model", 5)
    assert [name.split()[0] for name in found] == engines
    assert all("5" in line for line in found.values()) and ("my/draft" in str(found)) == ("my/draft" in spec and bool(engines))


def test_a_spec_with_brackets_is_quoted_for_the_shell() -> None:
    found = verdict(report(candidate("cape:inner=[glide:length=4]", 1.5)), 1)["settings"]
    assert "--drafter 'cape:inner=[glide:length=4]'" in found["paceline"]


@pytest.mark.parametrize("width", [50, 80, 120])
def test_the_terminal_shows_the_verdict_first_and_cuts_nothing(width: int) -> None:
    from rich.console import Console

    console = Console(width=width, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    made = report(candidate("small_model:model=zoo:tiny-draft", 1.5, weight_bytes=2.1e7), candidate("ngram", 1.1))
    show(made, console)
    lines = console.export_text().splitlines()
    text = " ".join(" ".join(lines).split())
    assert text.startswith("Draft: small_model") and text.index("measured") < text.index("break even") < text.index("Left out")
    assert "1.50x [1.45, 1.55]" in text and "21 MB" in text and "…" not in text and "1 prompts did not fit" in text
    assert max(len(line) for line in lines if not line.startswith("    ")) <= width  # what is to be typed is not broken


def test_brackets_in_a_table_are_those_of_a_spec(capsys: pytest.CaptureFixture[str]) -> None:
    spec = "merge:drafters=[suffix,glide]"
    show(report(candidate(spec, 1.5), candidate("ngram", 1.1)))
    assert sum("1.50x" in line and spec in line for line in capsys.readouterr().out.splitlines()) == 2  # verdict and table


def test_the_table_is_sorted_by_what_was_measured() -> None:
    made = report(candidate("a", 1.1), candidate("b", 1.5), candidate("c", 1.3))
    assert [row[0] for row in rows(made, 1)] == ["b", "c", "a"]
    assert next(rows(made, 1, narrow=True))[2] == "1.90" and next(rows(made, 1))[2] == "1.90 [1.85, 1.95]"
    assert next(rows(made, 1))[3:5] == ("1.50x [1.45, 1.55]", "1.50x at 2.00")
    assert next(rows(report(candidate("a", 1.9, above_acceptance=True)), 1))[3] == "too noisy"


def test_the_page_is_complete_in_itself_and_escapes() -> None:
    text = page(report(candidate("<script>", 1.5), candidate("ngram", 0.9)))
    assert text.count("<svg") == 2 and text.count("<polyline") == 4 and "<script" not in text and "&lt;no&gt;" in text
    assert not any(mark in text for mark in ("http", "src=", "href=", "@import", "url("))
    from html.parser import HTMLParser

    opened: list[str] = []

    class Check(HTMLParser):
        def handle_starttag(self, tag: str, attrs: Any) -> None:
            opened.extend([tag] if tag not in ("meta", "line", "circle", "polyline") else [])

        def handle_endtag(self, tag: str) -> None:
            if tag not in ("line", "circle", "polyline"):
                assert opened.pop() == tag

    Check().feed(text)
    assert opened == []


def test_points_stand_where_their_values_say() -> None:
    drawn = chart({"a": {1: 0.0, 2: 2.0, 4: 4.0}}, "x", "y", log=True, top=4.0)
    points = [tuple(map(float, p.split(","))) for p in drawn.split('points="')[1].split('"')[0].split()]
    assert points[0] == (60.0, 260.0) and points[2] == (542.0, 12.0) and points[1] == (301.0, 136.0)
    drawn = chart({"a": {1: 1e-4, 2: 1e-3, 3: 1e-2}}, "x", "y", decades=True)
    assert 'points="60.0,260.0 301.0,136.0 542.0,12.0"' in drawn and ">0.0001<" in drawn
    assert chart({}, "x", "y") == "<p>Nothing to draw.</p>"


@pytest.mark.parametrize(("value", "top"), [(0.7, 1.0), (1.0, 1.0), (1.1, 2.0), (2.2, 2.5), (18.0, 20.0), (51.0, 100.0)])
def test_axes_end_at_round_numbers(value: float, top: float) -> None:
    assert nice(value) == pytest.approx(top)
