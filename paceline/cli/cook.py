"""`paceline cook RECIPE`: run a whole job; its flags are the fields of the recipe's `Config`."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from paceline import plugins as registry
from paceline.cli._flags import argument, as_command, flag
from paceline.cli._output import check_writable, say, write_json
from paceline.errors import SpecError, did_you_mean

__all__ = ["cook", "recipe", "run_recipe"]

# The recipe's own flags, --help among them, are not known until its name is read: hand them on.
SETTINGS = {
    "allow_extra_args": True,
    "ignore_unknown_options": True,
    "help_option_names": [],
    "allow_interspersed_args": False,
}


@dataclass(frozen=True)
class Options:
    """What `paceline cook` reads itself."""

    recipe: str | None = argument(None, "Which recipe.", "RECIPE")


@dataclass(frozen=True)
class Report:
    """Flags every recipe has beside its own."""

    json: str | None = flag(None, "Write the recipe's name, settings and result to a file, or to the terminal with -.")


def cook(context: typer.Context, options: Options) -> None:
    """Run a recipe, such as the training of the embedded models. `paceline cook RECIPE --help` lists its settings."""
    if options.recipe in (None, "--help"):
        typer.echo(overview())
        raise typer.Exit(0 if options.recipe else 2)
    run_recipe(str(options.recipe), recipe(str(options.recipe)), context.args, f"paceline cook {options.recipe}")


def run_recipe(name: str, module: Any, arguments: list[str], title: str) -> None:
    """Read a recipe's own flags and run it."""
    application = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    application.command(help=inspect.getdoc(module))(_runner(name, module))
    application(arguments, prog_name=title)


def overview() -> str:
    """The recipes there are, one line each."""
    lines = [f"  {name:<20} {registry.summary('recipe', name)}" for name in registry.names("recipe")]
    return "\n".join(["Usage: paceline cook RECIPE [--field VALUE]...", "", "Recipes:", *lines])


def recipe(name: str) -> Any:
    """The recipe's module; unknown names get close matches."""
    names = registry.names("recipe")
    if name not in names:
        raise SpecError(f"There is no recipe {name!r}.{did_you_mean(name, names)}")
    return importlib.import_module(f"paceline.recipes.{name.replace('/', '.')}")


def _runner(name: str, module: Any) -> Any:
    def run(report: Report, config: Any) -> None:
        check_writable(report.json)
        if name.startswith("reproduce/"):
            from paceline.recipes.reproduce._record import check_drawing

            check_drawing()  # now, not after hours
        result = module.run(config)
        say(f"{name}: done, {result}")
        if report.json:
            settings = {key: _plain(value) for key, value in dataclasses.asdict(config).items()}
            write_json({"recipe": name, "config": settings, "result": str(result)}, report.json)

    run.__annotations__ = {"config": module.Config, "report": Report}
    return as_command(run, {"Config": field_help(module.Config)})


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def field_help(config: type) -> dict[str, str]:
    """Field -> help for its flag: the comment behind it in the source, else the class docstring's words after `field:`."""
    source, words = inspect.getsource(config), " ".join((config.__doc__ or "").split())
    found = {}
    for field in dataclasses.fields(config):
        match = re.search(rf"^\s+{field.name}\s*:[^#\n]*#\s*(.*)$", source, re.M)
        match = match or re.search(rf"(?:^|[\s`]){field.name}`*:\s+(.*?)(?:\.\s|\.$|;|$)", words)
        found[field.name] = match[1] if match else ""
    return found
