"""`paceline completion`: what a shell offers behind the words typed so far."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from paceline import cli


@pytest.fixture(scope="module")
def offered(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., set[str]]:
    """`offered(word, …)`: what bash offers for the last of the words."""
    from paceline.cli.completion import bash, flags_by_verb

    script = tmp_path_factory.mktemp("completion") / "script"
    script.write_text(bash(flags_by_verb()), encoding="utf-8")

    def ask(*words: str) -> set[str]:
        line = " ".join(f"'{word}'" for word in ("paceline", *words))
        run = f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words)}; _paceline; echo \"${{COMPREPLY[@]}}\""
        return set(subprocess.run(["bash", "-c", run], capture_output=True, text=True, check=True).stdout.split())

    return ask


def test_bash_offers_verbs_and_then_a_verbs_flags(offered: Callable) -> None:
    assert offered("") == set(cli.verbs()) and offered("gen") == {"generate"}
    assert offered("generate", "abc", "--dr") == {"--drafter"} and {"--exact", "--no-exact", "--threads"} <= offered("chat", "--")
    assert offered("plugins", "--") == {"--json"} and offered("genrate", "--") == set()


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_a_script_of_their_own(shell: str, paceline_cli: Callable, tmp_path: Path) -> None:
    outcome = paceline_cli("completion", shell)
    assert outcome.code == 0 and "generate" in outcome.out and "drafter" in outcome.out
    if shutil.which(shell):
        (tmp_path / "script").write_text(outcome.out, encoding="utf-8")
        assert subprocess.run([shell, "-n", str(tmp_path / "script")]).returncode == 0


def test_an_unknown_shell_is_one_sentence(paceline_cli: Callable) -> None:
    outcome = paceline_cli("completion", "bsh")
    assert outcome.code == 2 and "Did you mean 'bash'" in outcome.err
