"""The verb: what it prints and writes, what it says of bad input, and that it says so before the work."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paceline.report import look as looking


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    """Three texts, one of them short, for a tokenizer of bytes."""
    path = tmp_path / "prompts.jsonl"
    path.write_text("\n".join(json.dumps({"prompt": text}) for text in ("one two three " * 8, "short", "seven eight nine " * 8)))
    return path


def test_it_prints_the_heads_and_writes_what_is_asked(
    paceline_cli: Callable, model_folder: Path, prompts: Path, tmp_path: Path
) -> None:
    page, figures = tmp_path / "r.html", tmp_path / "r.json"
    outcome = paceline_cli("probe", "sinks:length=32", "entropy", "lazy", "--model", model_folder, "--prompts", prompts,
                           "--length", 40, "--html", page, "--json", figures)
    assert outcome.code == 0, outcome.err
    assert "have a sink on the first token" in outcome.out
    assert "Shorter than 40 tokens and left out: 1 of the texts" in outcome.out
    assert "Left out: lazy: Lazy layers show in texts of more than 68 tokens" in outcome.out
    report = json.loads(figures.read_text())
    assert [reading["texts"] for reading in report["readings"]] == [2, 2] and set(report["left_out"]) == {"lazy"}
    assert 'class="cell ' in page.read_text()


def test_random_tokens_take_no_texts(paceline_cli: Callable, model_folder: Path) -> None:
    outcome = paceline_cli("probe", "entropy", "sinks:length=16", "--model", model_folder, "--length", 20, "--texts", 3,
                           "--random-tokens", "--json", "-")
    report = json.loads(outcome.out)
    assert report["readings"][0]["texts"] == 3 and report["notes"][0].startswith("Texts read: 3.")


def test_two_checkpoints_that_are_the_same_have_changed_nothing(
    paceline_cli: Callable, model_folder: Path, prompts: Path
) -> None:
    outcome = paceline_cli("probe", "entropy", "--diff", model_folder, model_folder, "--prompts", prompts, "--length", 40)
    assert outcome.code == 0 and outcome.out.startswith("0 of "), outcome.err


@pytest.mark.parametrize(("flags", "code", "words"), [
    (["snks"], 2, "Did you mean 'sinks'"), (["--html", "/no/where/x.html"], 1, "Give --html another place"),
    (["--prompts", "/no/where.jsonl"], 1, "Cannot read"), (["--length", "1"], 1, "length must be"),
    (["--length", "200"], 1, "the longest of 3 has 136"), (["--texts", "0"], 1, "texts must be"), (["--diff", "one"], 2, "diff"),
    (["--length", "2000", "--random-tokens"], 1, "reads texts of 1 to"), (["--prompts", "/dev/null"], 1, "holds no text"),
    (["lazy", "--length", "40"], 1, "Lazy layers show in texts of more than 68 tokens"),
])  # fmt: skip
def test_bad_input_is_one_sentence(
    paceline_cli: Callable, model_folder: Path, prompts: Path, flags: list[Any], code: int, words: str
) -> None:
    outcome = paceline_cli("probe", "--model", model_folder, "--prompts", prompts, *flags)
    assert outcome.code == code and words in outcome.err and "Traceback" not in outcome.err


def test_a_place_that_cannot_be_written_is_told_before_the_model_is_opened(
    paceline_cli: Callable, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "subject", lambda name: pytest.fail("opened"))
    assert "Cannot write" in paceline_cli("probe", "--model", model_folder, "--html", "/no/where/x.html").err
