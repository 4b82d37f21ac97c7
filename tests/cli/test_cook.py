"""`paceline cook`: flags from a recipe's own Config."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from paceline import plugins
from paceline.cli import cook
from paceline.errors import DataError
from paceline.recipes.reproduce import _record


@dataclass(frozen=True)
class Config:
    """Settings. `dishes`: how many; more is slower. `place`: where."""

    dishes: int = 2
    place: Path = Path("here")
    spices: tuple[str, ...] = ()
    hot: bool = False  # serve it hot


@pytest.fixture
def soup(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A recipe that is not in the folder."""
    module = types.ModuleType("paceline.recipes.soup", "Cooks soup.")
    module.Config, module.run = Config, lambda config: config.place / f"{config.dishes}-{'-'.join(config.spices)}"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(plugins, "names", lambda kind: ["soup"])
    monkeypatch.setattr(plugins, "summary", lambda kind, name: "Cooks soup.")
    return module


def test_fields_are_flags(paceline_cli: Callable, soup: object, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    flags = ["--dishes", 3, "--place", "there", "--spices", "salt", "--spices", "dill", "--hot", "--json", path]
    outcome = paceline_cli("cook", "soup", *flags)
    assert outcome.code == 0, outcome.err
    report = json.loads(path.read_text())
    assert report["result"] == "there/3-salt-dill"
    assert report["config"] == {"dishes": 3, "place": "there", "spices": ["salt", "dill"], "hot": True}


def test_help_of_a_recipe_lists_its_fields(paceline_cli: Callable, soup: object) -> None:
    outcome = paceline_cli("cook", "soup", "--help")
    assert outcome.code == 0
    assert all(word in outcome.out for word in ("--dishes", "how many", "--place", "where", "--hot", "serve it hot"))


def test_the_list_of_recipes(paceline_cli: Callable, soup: object) -> None:
    assert paceline_cli("cook", "--help").code == 0
    outcome = paceline_cli("cook")
    assert outcome.code == 2 and "soup" in outcome.out


def test_a_mistyped_recipe_or_field(paceline_cli: Callable, soup: object) -> None:
    outcome = paceline_cli("cook", "soop")
    assert outcome.code == 2 and "Did you mean 'soup'" in outcome.err
    outcome = paceline_cli("cook", "soup", "--dishs", 3)
    assert outcome.code == 2 and "--dishes" in outcome.err


def test_errors_of_a_recipe_are_sentences(paceline_cli: Callable, soup: types.ModuleType) -> None:
    def spoil(config: Config) -> Path:
        raise DataError("the milk is off")

    soup.run = spoil  # type: ignore[attr-defined]
    outcome = paceline_cli("cook", "soup")
    assert outcome.code == 1 and outcome.err == "paceline: the milk is off\n"


def test_a_picture_that_cannot_be_drawn_is_told_of_before_anything_is_trained(
    paceline_cli: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_record, "find_spec", lambda name: None)
    refused = paceline_cli("cook", "reproduce/exam", "--work", tmp_path / "work", "--out", tmp_path / "out", "--fast")
    assert refused.code == 1 and "install paceline[plots]" in refused.err and not (tmp_path / "work").exists()


def test_every_recipe_has_a_help_page(paceline_cli: Callable) -> None:
    assert plugins.names("recipe")
    for name in plugins.names("recipe"):
        assert hasattr(cook.recipe(name), "Config") and paceline_cli("cook", name, "--help").code == 0
