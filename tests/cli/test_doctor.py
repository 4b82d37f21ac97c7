"""The verb: what it prints and writes, and what it says of bad input."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SMALL = ("--limit", 2, "--max-new-tokens", 6, "--repeats", 1, "--budget", 4)


def test_it_prints_a_verdict_and_writes_what_is_asked(paceline_cli: Callable, model_folder: Path, tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("r.json", "r.html")}
    outcome = paceline_cli("doctor", "--model", model_folder, *SMALL, "--json", files["r.json"], "--html", files["r.html"])
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("Too few prompts for a verdict: 3 checked, it takes 8") and "modelled" in outcome.out
    report = json.loads(files["r.json"].read_text())
    assert not report["verdicts"][0]["pays"] and 'class="verdict unsure"' in files["r.html"].read_text()
    assert report["verdicts"][0]["sentence"] in outcome.out and report["node_budgets"] == [4]
    assert "<svg" in files["r.html"].read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(files)


def test_json_to_the_terminal_is_nothing_but_json(paceline_cli: Callable, model_folder: Path) -> None:
    outcome = paceline_cli("doctor", "--model", model_folder, *SMALL, "--json", "-")
    assert outcome.code == 0 and json.loads(outcome.out)["verdicts"]


@pytest.mark.parametrize(("flags", "code", "words"), [
    (["--drafter", "ngrm"], 2, "Did you mean 'ngram'"), (["--prompts", "/no/where.jsonl"], 1, "Cannot read"),
    (["--replay", "/no/where.jsonl"], 1, "Cannot read"), (["--rows", "0"], 1, "rows must be"), (["--rows", "many"], 2, "rows"),
    (["--html", "/no/where/x.html"], 1, "Give --html another place"), (["--bogus"], 2, "bogus"),
])  # fmt: skip
def test_bad_input_is_one_sentence(
    paceline_cli: Callable, model_folder: Path, flags: list[Any], code: int, words: str
) -> None:
    outcome = paceline_cli("doctor", "--model", model_folder, *SMALL, *flags)
    assert outcome.code == code and words in outcome.err and "Traceback" not in outcome.err
