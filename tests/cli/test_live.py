"""Live text: what a draft wrote is tinted on a terminal, and nothing that a model writes steers it."""

from __future__ import annotations

import pytest

from paceline.api import Piece
from paceline.cli._live import show
from paceline.core.detokenizer import Span
from paceline.core.row import Generation
from paceline.core.stats import Stats

PIECES = [
    Piece([Span("one ", False), Span("two\x1b[2J", True)], [1, 2], [False, True]),
    Piece([Span(" three", False)], [3], [False], Generation("one two\x1b[2J three", [1, 2, 3], "eos", Stats(), 1)),
]


def test_drafted_text_is_tinted_on_a_terminal(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    show(PIECES)
    assert capsys.readouterr().out == "one \x1b[32mtwo\ufffd[2J\x1b[0m three\n"


def test_piped_text_is_the_text_alone(capsys: pytest.CaptureFixture) -> None:
    show(PIECES)
    assert capsys.readouterr().out == "one two\x1b[2J three\n"
