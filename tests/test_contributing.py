"""The examples in CONTRIBUTING.md work as printed, and the rooms that it names are there."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest

import paceline
from paceline.testing import tiny_lm

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.S)


@pytest.fixture
def echo(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The example's file, imported."""
    module = types.ModuleType("paceline.drafters.echo")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(EXAMPLES[0], "echo.py", "exec"), module.__dict__)
    return module


@pytest.mark.parametrize("source", EXAMPLES[1:], ids=lambda source: source.split('"""')[1])
def test_every_other_example_can_be_imported(source: str) -> None:
    names: dict[str, object] = {"__name__": __name__}
    exec(compile(source, "example.py", "exec", dont_inherit=True), names)
    assert set(names.get("__all__", ("Config", "run"))) <= set(names)  # type: ignore[call-overload]


def test_the_rooms_on_the_map_are_there() -> None:
    rooms = set(re.findall(r"^\| [^|]+ \| `paceline/([\w/]+)/`", PAGE, re.M))
    assert len(rooms) > 10 and not [room for room in rooms if not (ROOT / "paceline" / room).is_dir()]


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
