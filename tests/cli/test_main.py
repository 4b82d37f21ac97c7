"""The frame around the verbs: exit codes, one clear sentence instead of a traceback, help."""

from __future__ import annotations

import importlib
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


def test_no_arguments_is_bad_usage_with_help(paceline_cli: Callable) -> None:
    assert paceline_cli().code == 2


@pytest.mark.parametrize("arguments", [["--version"], ["--help"], ["genrate"], ["plugins", "--jsn"], ["train", "--help"]])
def test_what_needs_no_model_imports_none_of_their_libraries(arguments: list[str]) -> None:
    code = ("import atexit, sys; from paceline.cli import main\n"
            "atexit.register(lambda: print('loaded', sorted({'numpy', 'torch', 'transformers'} & set(sys.modules))))\n"
            f"main({arguments})")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.endswith("loaded []\n") and "Traceback" not in done.stderr


def test_the_list_of_verbs_has_the_help_of_each(paceline_cli: Callable) -> None:
    outcome = paceline_cli("--help")
    shown = " ".join(outcome.out.replace("│", " ").split())
    assert outcome.code == 0
    for verb in cli.verbs():
        words = getattr(importlib.import_module(f"paceline.cli.{verb}"), verb).__doc__.split(".")[0]
        assert " ".join(words.split()) in shown


def test_a_mistyped_verb(paceline_cli: Callable) -> None:
    outcome = paceline_cli("genrate", "x")
    assert outcome.code == 2 and "Did you mean 'generate'" in outcome.err


@pytest.mark.parametrize("arguments", [["plugins", "drafers"], ["generate", "x", "--drafter", "suffx"],
                                       ["generate", "x", "--controller", "fixed:budgt=3"], ["cook", "soop"]])
def test_a_mistyped_spec_is_bad_usage(paceline_cli: Callable, arguments: list[str]) -> None:
    outcome = paceline_cli(*arguments)
    assert outcome.code == 2 and outcome.err.count("\n") == 1


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
    command = f"{sys.executable} -m paceline plugins controller | true"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert "Traceback" not in done.stderr and "fault" not in done.stderr


def test_version(paceline_cli: Callable) -> None:
    outcome = paceline_cli("--version")
    assert outcome.code == 0 and outcome.out.startswith("paceline ")
