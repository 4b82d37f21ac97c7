"""Settings become the words of a command line, and options become settings."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

from paceline.core.flags import flag_of, settings, words


@dataclass(frozen=True)
class Config:
    drafters: tuple[str, ...] = ("none",)
    max_new_tokens: int = 128
    packed: bool = True
    cold: bool = False
    grow: float | None = None


def test_every_field_that_differs_from_its_default_is_said() -> None:
    config = Config(("a", "b:c=1"), 64, packed=False, cold=True, grow=100.0)
    assert words(config) == ["--drafter a", "--drafter b:c=1", "--max-new-tokens 64", "--no-packed", "--cold", "--grow 100"]
    assert words(Config()) == [] and flag_of("token_cost") == "--token-cost"


def test_options_become_settings() -> None:
    options = SimpleNamespace(drafter=["a"], max_new_tokens=2, packed=True, cold=False, grow=None, json="-")
    assert settings(Config, options) == Config(("a",), 2)
    assert settings(Config, options, drafters=["b", "c"]).drafters == ("b", "c")
