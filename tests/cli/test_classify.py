"""`paceline classify`: a text, a file or a pipe in, labels and reasons out, and one sentence where that cannot be."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console

from paceline.cli._evidence import show
from paceline.models.exam.classifier import Classifier, Explained, Part


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    held = Classifier.made(["the cup final", "a cup of tea"], ["sports", "tea"], width=4, length=6, aggregator="mean", radius=0)
    with torch.no_grad():
        ids, mask, _ = held.vocabulary.encode(["final", "tea"], held.model.config)
        held.model.classes.copy_(held.model.meanings(ids, mask) * 50)
    held.save(tmp_path / "c")
    return tmp_path / "c"


def test_texts_from_everywhere(paceline_cli: Callable, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = paceline_cli("classify", "--model", folder, "the final")
    assert out.code == 0 and out.out.startswith("sports ") and out.out.endswith("\tthe final\n")
    (tmp_path / "in.txt").write_text("the final\n\na tea\n")
    out = paceline_cli("classify", "--model", folder, tmp_path / "in.txt")
    assert [line.split()[0] for line in out.out.splitlines()] == ["sports", "tea"]
    out = paceline_cli("classify", "--model", folder, "the final\n" * 60)  # longer than any file's name, and one text
    assert out.code == 0 and out.out.startswith("sports ") and out.out.count("\n") == 1


def test_reasons(paceline_cli: Callable, folder: Path, tmp_path: Path) -> None:
    files = ["--json", tmp_path / "a.json", "--html", tmp_path / "a.html"]
    out = paceline_cli("classify", "--model", folder, "--explain", "--labels", 2, *files, "final <final")
    assert out.code == 0 and "final +" in out.out and "logit" in out.out
    [record] = json.loads((tmp_path / "a.json").read_text())
    assert out.out.startswith(record["labels"][0]["label"]) and len(record["why"]) == 2
    assert record["why"][0]["parts"][0]["start"] == 0
    page = (tmp_path / "a.html").read_text()
    assert '<mark class="for"' in page and "&lt;" in page and "<final" not in page and "http" not in page


def test_words_are_tinted() -> None:
    told = Explained("good \x1b[2J bad", "x", 0.9, 1.0, (Part(0, 4, 2.0), Part(10, 13, -1.0)), 0.0)
    console = Console(file=io.StringIO(), force_terminal=True, color_system="256", width=99)
    show([[told]], console)
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b[1;34mgood" in shown and "\x1b[38;5;166mbad" in shown and "\x1b[2J" not in shown


@pytest.mark.parametrize(("arguments", "complaint"), [
    (["--model", "nowhere", "hello"], "There is no classifier in nowhere (no config.json)"),
    (["--model", "{folder}", "  "], "Expected a text to classify, found none."),
    (["--model", "{folder}", "{bytes}"], "expected text in UTF-8"),
])  # fmt: skip
def test_what_is_wrong_is_said(paceline_cli: Callable, folder: Path, tmp_path: Path, arguments: list[str],
                              complaint: str) -> None:
    (tmp_path / "bytes.txt").write_bytes(b"caf\xe9\n")
    out = paceline_cli("classify", *(part.format(folder=folder, bytes=tmp_path / "bytes.txt") for part in arguments))
    assert out.code == 1 and complaint in out.err and out.err.count("\n") == 1
