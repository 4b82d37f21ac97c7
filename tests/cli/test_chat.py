"""`paceline chat`: a short talk, its record, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest


def lines(monkeypatch: pytest.MonkeyPatch, *said: str) -> None:
    """What the person types; after that, end of input."""
    left = list(said)

    def answer(prompt: str = "") -> str:
        if not left:
            raise EOFError
        return left.pop(0)

    monkeypatch.setattr("builtins.input", answer)


@pytest.fixture
def go(paceline_cli: Callable, model_folder: Path) -> Callable:
    return lambda *flags: paceline_cli("chat", "--model", model_folder, "--max-new-tokens", 8, *flags)


def test_a_talk_of_two_turns(go: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines(monkeypatch, "hello", "", "and you?")
    outcome = go("--system", "Be kind.", "--json", tmp_path / "talk.json")
    assert outcome.code == 0
    messages = json.loads((tmp_path / "talk.json").read_text())["messages"]
    assert [m["role"] for m in messages] == ["system", "user", "assistant", "user", "assistant"]
    assert messages[2]["content"] in outcome.out


@pytest.mark.parametrize("word", ["/bye", "/exit", "/quit"])
def test_leaving(go: Callable, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    lines(monkeypatch, word, "never asked")
    outcome = go()
    assert outcome.code == 0 and outcome.out == ""


def test_an_interrupt_leaves_a_clean_line(go: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(prompt: str = "") -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("builtins.input", interrupt)
    outcome = go()
    assert outcome.code == 130 and outcome.out == "\n" and "Traceback" not in outcome.err


def test_a_turn_that_does_not_fit_is_dropped(go: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines(monkeypatch, "x" * 600, "hi")
    outcome = go("--json", tmp_path / "talk.json")
    messages = json.loads((tmp_path / "talk.json").read_text())["messages"]
    assert outcome.code == 0 and "512" in outcome.err
    assert [m["content"] for m in messages if m["role"] == "user"] == ["hi"]


def test_a_model_without_a_template(
    paceline_cli: Callable, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in model_folder.iterdir():
        if file.name != "chat_template.jinja":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    lines(monkeypatch, "hi")
    outcome = paceline_cli("chat", "--model", tmp_path)
    assert outcome.code == 1 and "no chat template" in outcome.err
