"""The example in CONTRIBUTING.md works as printed, and the house's papers are in order."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest

import paceline
from paceline.testing import tiny_lm

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The example's file, imported."""
    match = re.search(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.S)
    assert match
    module = types.ModuleType("paceline.drafters.echo")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(match[1], "echo.py", "exec"), module.__dict__)
    return module


def test_contributing_opens_with_the_example() -> None:
    assert (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split("\n")[2] == "## Add a drafter in one file"


def test_the_example_drafts_and_changes_nothing(echo: types.ModuleType) -> None:
    lm = tiny_lm()
    prompts = [[5, 6, 7, 5, 6, 7, 5], [9, 9, 9]]
    plain = paceline.generate(lm, prompts, max_new_tokens=24)
    drafted = paceline.generate(lm, prompts, drafter=echo.Echo(length=3), max_new_tokens=24)
    assert [g.tokens for g in drafted] == [g.tokens for g in plain]
    assert sum(g.stats.drafted for g in drafted) > 0


def test_the_example_guesses_what_followed(echo: types.ModuleType) -> None:
    drafter = echo.tiny(None).attach(None)
    assert drafter.guess([1, 2, 3, 4, 1]) == [2, 3]
    assert drafter.guess([1, 2, 3]) == []
