"""The frame around the verbs: exit codes, one clear sentence instead of a traceback, help."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from paceline import cli
from paceline.errors import DataError

VERBS = ["bench", "chat", "cook", "generate", "plugins"]


def test_the_verbs_are_the_files() -> None:
    assert set(VERBS) <= set(cli.verbs())
    assert not [verb for verb in cli.verbs() if verb.startswith("_")]


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_every_verb(paceline_cli: Callable, verb: str) -> None:
    outcome = paceline_cli(verb, "--help")
    assert outcome.code == 0 and "Usage" in outcome.out


def test_help_lists_the_verbs(paceline_cli: Callable) -> None:
    outcome = paceline_cli("--help")
    assert outcome.code == 0 and all(verb in outcome.out for verb in VERBS)


def test_no_arguments_is_bad_usage_with_help(paceline_cli: Callable) -> None:
    assert paceline_cli().code == 2


def test_a_mistyped_verb(paceline_cli: Callable) -> None:
    outcome = paceline_cli("genrate", "x")
    assert outcome.code == 2 and "Did you mean 'generate'" in outcome.err


def test_an_unknown_flag_is_bad_usage(paceline_cli: Callable) -> None:
    outcome = paceline_cli("plugins", "--jsn", "-")
    assert outcome.code == 2 and "--json" in outcome.err


def test_errors_of_ours_are_one_sentence(paceline_cli: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = fail_with(DataError("no such thing"), paceline_cli, monkeypatch)
    assert (outcome.code, outcome.out, outcome.err) == (1, "", "paceline: no such thing\n")


def test_our_own_faults_are_named_without_a_traceback(paceline_cli: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = fail_with(ZeroDivisionError("oops"), paceline_cli, monkeypatch)
    assert outcome.code == 1 and "ZeroDivisionError: oops" in outcome.err and "Traceback" not in outcome.err


def test_debug_shows_the_traceback(paceline_cli: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = fail_with(ZeroDivisionError("oops"), paceline_cli, monkeypatch, "--debug")
    assert outcome.code == 1 and "Traceback" in outcome.err


def test_an_interrupt_is_130(paceline_cli: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = fail_with(KeyboardInterrupt(), paceline_cli, monkeypatch)
    assert outcome.code == 130 and "Traceback" not in outcome.err


def fail_with(error: BaseException, call: Callable, monkeypatch: pytest.MonkeyPatch, *flags: str):  # noqa: ANN201
    from paceline.cli import plugins

    def raise_it(kind: str | None = None) -> None:
        raise error

    monkeypatch.setattr(plugins, "catalogue", raise_it)
    return call("plugins", *flags)


def test_a_closed_pipe_is_no_fault(tmp_path: Path) -> None:
    command = f"{sys.executable} -m paceline plugins | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in done.stderr and "fault" not in done.stderr


def test_version(paceline_cli: Callable) -> None:
    outcome = paceline_cli("--version")
    assert outcome.code == 0 and outcome.out.startswith("paceline ")
