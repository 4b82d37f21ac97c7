"""`paceline chat`: a short talk, its record, and how it ends."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from paceline.testing import tiny_model


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


def test_each_turn_says_which_layers_were_cut(go: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    lines(monkeypatch, "0123456789" * 9, "and on")
    outcome = go("--selector", "lighttransfer:layers=[1],sinks=2,recent=10")
    assert outcome.code == 0 and outcome.err.count("for each output these: 1.") == 2


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


def test_an_interrupted_talk_is_written(go: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said = ["hello"]
    monkeypatch.setattr("builtins.input", lambda prompt="": said.pop() if said else (_ for _ in ()).throw(KeyboardInterrupt))
    assert go("--json", tmp_path / "talk.json").code == 130
    messages = json.loads((tmp_path / "talk.json").read_text(encoding="utf-8"))["messages"]
    assert [m["role"] for m in messages] == ["user", "assistant"]


def test_a_turn_beyond_where_the_rotation_changes_is_dropped(
    paceline_cli: Callable, model_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = tmp_path / "phi"
    shutil.copytree(model_folder, model)
    longrope = {"rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [4.0] * 8, "factor": 8.0, "rope_theta": 1e4}
    tiny_model("phi3", vocab=257, rope_parameters={**longrope, "original_max_position_embeddings": 128}, eos_token_id=0,
               original_max_position_embeddings=128).save_pretrained(model)
    lines(monkeypatch, "hi", "x" * 120, "ho")
    outcome = paceline_cli("chat", "--model", model, "--max-new-tokens", 8, "--json", tmp_path / "talk.json")
    messages = json.loads((tmp_path / "talk.json").read_text(encoding="utf-8"))["messages"]
    assert outcome.code == 0 and "rotary embedding changes beyond 128 tokens" in outcome.err
    assert [m["content"] for m in messages if m["role"] == "user"] == ["hi", "ho"]


def test_bytes_that_are_no_text_are_dropped(go: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines(monkeypatch, "caf\udce9", "hi")
    outcome = go("--json", tmp_path / "talk.json")
    messages = json.loads((tmp_path / "talk.json").read_text(encoding="utf-8"))["messages"]
    assert outcome.code == 0 and "valid Unicode; found '\\udce9'" in outcome.err and messages[0]["content"] == "hi"


def test_a_template_that_refuses_the_system_role(
    paceline_cli: Callable, model_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    model = tmp_path / "strict"
    shutil.copytree(model_folder, model)
    (model / "chat_template.jinja").write_text(
        "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}")
    lines(monkeypatch, "hi")
    outcome = paceline_cli("chat", "--model", model, "--system", "Be kind.")
    assert outcome.code == 1 and outcome.out == ""
    assert "chat template refuses these messages (roles: system, user): System role not supported" in outcome.err


@pytest.mark.parametrize("flags", [("--stop", ""), ("--stop", "\udc80"), ("--top-p", 0)])
def test_what_no_turn_could_have_is_said_at_once(go: Callable, monkeypatch: pytest.MonkeyPatch, flags: tuple) -> None:
    lines(monkeypatch, "never asked")
    assert go(*flags).code == 1


def test_special_tokens_are_shown_and_not_said_again(go: Callable, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines(monkeypatch, "hi")
    outcome = go("--keep-special", "--logit-bias", "0=1000", "--json", tmp_path / "talk.json")
    messages = json.loads((tmp_path / "talk.json").read_text(encoding="utf-8"))["messages"]
    assert outcome.code == 0 and "<eos>" in outcome.out and messages[-1]["content"] == ""


def test_a_model_without_a_template(
    paceline_cli: Callable, model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in model_folder.iterdir():
        if file.name != "chat_template.jinja":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    lines(monkeypatch, "hi")
    outcome = paceline_cli("chat", "--model", tmp_path)
    assert outcome.code == 1 and "no chat template" in outcome.err
