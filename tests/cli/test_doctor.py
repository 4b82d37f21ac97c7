"""The verb: what it prints and writes, and what it says of bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paceline.engine.calibration import read_calibration

SMALL = ("--limit", 2, "--max-new-tokens", 6, "--repeats", 1, "--budget", 4)


def test_it_prints_a_verdict_and_writes_what_is_asked(paceline_cli: Callable, model_folder: Path, tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("r.json", "r.html", "c.json")}
    outcome = paceline_cli("doctor", "--model", model_folder, *SMALL, "--json", files["r.json"], "--html", files["r.html"],
                           "--save", files["c.json"])
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("Too few prompts for a verdict: 4 checked, it takes 8") and "modelled" in outcome.out
    report = json.loads(files["r.json"].read_text())
    assert not report["verdicts"][0]["pays"] and 'class="verdict unsure"' in files["r.html"].read_text()
    assert report["verdicts"][0]["sentence"] in outcome.out and report["node_budgets"] == [4]
    assert "<svg" in files["r.html"].read_text()
    holds_for, arms = read_calibration(files["c.json"])
    assert holds_for == report["holds_for"] and {a.drafter for a in arms} >= {"none", "ngram"}
    assert "cost:budgets=[4],calibration=" in outcome.err and sorted(p.name for p in tmp_path.iterdir()) == sorted(files)


def test_what_it_saves_is_taken_up(
    paceline_cli: Callable, model_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "c.json"
    assert paceline_cli("doctor", "--model", model_folder, *SMALL, "--save", path).code == 0
    outcome = paceline_cli("generate", "abc", "--model", model_folder, "--drafter", "auto", "--max-new-tokens", 6, "--controller",
                           f"cost:budgets=[4],calibration={path}")
    assert outcome.code == 0 and "ignored" not in caplog.text + outcome.err


def test_json_to_the_terminal_is_nothing_but_json(paceline_cli: Callable, model_folder: Path) -> None:
    outcome = paceline_cli("doctor", "--model", model_folder, *SMALL, "--json", "-")
    assert outcome.code == 0 and json.loads(outcome.out)["verdicts"]


@pytest.mark.parametrize(("flags", "code", "words"), [
    (["--drafter", "ngrm"], 2, "Did you mean 'ngram'"), (["--prompts", "/no/where.jsonl"], 1, "Cannot read"),
    (["--replay", "/no/where.jsonl"], 1, "Cannot read"), (["--rows", "0"], 1, "rows must be"), (["--rows", "many"], 2, "rows"),
    (["--html", "/no/where/x.html"], 1, "Give --html another place"), (["--save", "/no/where/c"], 1, "Give --save another place"),
    (["--rows", "2", "--save", "SAVED"], 2, "--rows 1"), (["--bogus"], 2, "bogus"),
])  # fmt: skip
def test_bad_input_is_one_sentence(
    paceline_cli: Callable, model_folder: Path, tmp_path: Path, flags: list[Any], code: int, words: str
) -> None:
    flags = [str(tmp_path / "c") if f == "SAVED" else f for f in flags]
    outcome = paceline_cli("doctor", "--model", model_folder, *SMALL, *flags)
    assert outcome.code == code and words in outcome.err and "Traceback" not in outcome.err
