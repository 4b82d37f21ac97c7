"""Terminals of small encodings lose no file and end no run; standard input is UTF-8 wherever it comes from."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from paceline.cli import main
from paceline.cli._streams import plain


@pytest.fixture(params=["ascii", "cp437"])
def small(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str]]:
    """Runs a command line on streams of a small encoding; its exit code and what it printed."""

    def call(*arguments: object) -> tuple[int, str]:
        out, err = (io.TextIOWrapper(io.BytesIO(), encoding=request.param, write_through=True) for _ in range(2))
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        with pytest.raises(SystemExit) as stop:
            main([str(a) for a in arguments])
        printed = out.buffer.getvalue().decode(request.param)  # type: ignore[attr-defined]
        return int(stop.value.code or 0), printed

    return call


def test_the_doctor_keeps_its_files(small: Callable, model_folder: Path, tmp_path: Path) -> None:
    examined = ("--model", model_folder, "--limit", 2, "--max-new-tokens", 6, "--repeats", 1, "--budget", 4)
    code, printed = small("doctor", *examined, "--json", tmp_path / "r.json", "--html", tmp_path / "r.html")
    assert code == 0 and printed
    assert json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["verdicts"]
    assert "<svg" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_generate_writes_its_text_and_its_json(small: Callable, model_folder: Path, tmp_path: Path) -> None:
    command = ("generate", "é ü 日本", "--model", model_folder, "--max-new-tokens", 24, "--temperature", 1, "--seed", 3, "--json")
    code, printed = small(*command, tmp_path / "r.json")
    text = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["generations"][0]["text"]
    assert code == 0 and printed and not text.isascii()
    code, printed = small(*command, "-")
    assert code == 0 and json.loads(printed)["generations"][0]["text"] == text


def test_plugins_are_listed(small: Callable) -> None:
    code, printed = small("plugins", "drafter")
    assert code == 0 and "suffix" in printed
    code, printed = small("generate", "--help")
    assert code == 0 and "--drafter" in printed


def test_what_cannot_be_shown_becomes_the_nearest_plain_character() -> None:
    error = UnicodeEncodeError("ascii", "é – × … → 日 \ud83d", 0, 15, "no")
    assert plain(error) == ("e - x ... -> ? ?", 15)


@pytest.mark.parametrize(("given", "code", "said"), [
    (b"\xef\xbb\xbfabc\r\n\xc3\xa9", 0, ""), (b"caf\xe9", 1, "standard input: expected text in UTF-8; found the byte 0xe9 at 3"),
])
def test_standard_input_is_utf8(given: bytes, code: int, said: str, paceline_cli: Callable, model_folder: Path, tmp_path: Path,
                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), encoding="ascii"))
    outcome = paceline_cli("generate", "-", "--model", model_folder, "--max-new-tokens", 2, "--json", tmp_path / "r.json")
    assert outcome.code == code and said in outcome.err
    if not code:
        [generation] = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))["generations"]
        assert generation["prompt_tokens"] == len("abc\né".encode())
