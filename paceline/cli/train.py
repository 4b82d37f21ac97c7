"""`paceline train WHAT`: train something; its flags are the fields of the recipe `train_WHAT`."""

from __future__ import annotations

from dataclasses import dataclass

import typer

from paceline import plugins
from paceline.cli._flags import argument
from paceline.cli.cook import SETTINGS as SETTINGS
from paceline.cli.cook import recipe, run_recipe
from paceline.errors import SpecError, did_you_mean

__all__ = ["train"]

PREFIX = "train_"


@dataclass(frozen=True)
class Options:
    """What `paceline train` reads itself."""

    what: str | None = argument(None, "What to train.", "WHAT")


def train(context: typer.Context, options: Options) -> None:
    """Train draft heads, a hybrid, a translator or a classifier: `paceline train translate --src train.en --tgt train.de`.
    `paceline train WHAT --help` lists its settings.
    """
    known = [name.removeprefix(PREFIX) for name in plugins.names("recipe") if name.startswith(PREFIX)]
    if options.what in (None, "--help"):
        lines = [f"  {name:<12} {plugins.summary('recipe', PREFIX + name)}" for name in known]
        typer.echo("\n".join(["Usage: paceline train WHAT [--field VALUE]...", "", "What:", *lines]))
        raise typer.Exit(0 if options.what else 2)
    if options.what not in known:
        raise SpecError(f"There is nothing called {options.what!r} to train.{did_you_mean(str(options.what), known)}")
    run_recipe(PREFIX + str(options.what), recipe(PREFIX + str(options.what)), context.args, f"paceline train {options.what}")
