"""The command line, thin: every verb parses its flags, makes one public call and prints. File name = verb.

A file `cli/<verb>.py` offers a function of that name; nothing else is registered anywhere. Files starting with an
underscore are shared by the verbs. Exit codes: 0 done, 1 failed, 2 bad usage, 130 interrupted.
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import sys
import traceback
from pathlib import Path
from typing import Any

from paceline import __version__
from paceline.cli._streams import steady
from paceline.errors import PacelineError, SpecError, did_you_mean

__all__ = ["app", "main", "verbs"]

DEBUG = "--debug"


def verbs() -> list[str]:
    """The verbs there are, as typed: the file names of this folder."""
    return sorted(m.name.replace("_", "-") for m in pkgutil.iter_modules(__path__) if m.name[0] != "_")


def app(*wanted: str) -> Any:
    """The typer application: these verbs with their flags, or, where none is named, every verb's help alone, none imported."""
    import typer

    application = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)
    application.callback()(_about)
    known = [verb for verb in verbs() if verb in wanted]
    for verb in known:
        _add(application, verb)
    for verb in [] if known else verbs():
        application.command(verb, help=_help(verb))(lambda: None)
    return application


def _add(application: Any, verb: str) -> None:
    """Import a verb's file and add it with its flags."""
    from paceline.cli._flags import as_command

    name = verb.replace("-", "_")
    module = importlib.import_module(f"{__name__}.{name}")
    application.command(verb, context_settings=getattr(module, "SETTINGS", {}))(as_command(getattr(module, name)))


def _help(verb: str) -> str:
    """A verb's docstring, read without importing its file."""
    name = verb.replace("-", "_")
    tree = ast.parse(Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name)
    return next(filter(None, map(ast.get_docstring, functions)), "")


def _about() -> None:
    """Decode language models faster, losslessly. `paceline VERB --help` explains a verb; --debug shows tracebacks."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit. Errors a user can mend are one sentence on stderr, never a traceback."""
    steady()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = DEBUG in arguments
    arguments = [a for a in arguments if a != DEBUG]
    verb = next((a for a in arguments if not a.startswith("-")), None)
    if verb is not None and not arguments[0].startswith("-") and verb not in verbs():
        _fail(f"There is no verb {verb!r}.{did_you_mean(verb, verbs())}", 2)
    if arguments in (["--version"], ["-V"]):
        print(f"paceline {__version__}")
        sys.exit(0)
    try:
        app(verb or "")(arguments, prog_name="paceline")
    except PacelineError as error:
        _fail(str(error), 2 if isinstance(error, SpecError) else 1, error if debug else None)
    except KeyboardInterrupt:
        _fail("interrupted", 130)
    except Exception as error:
        hint = "" if debug else f" This is a fault of Paceline; {DEBUG} shows where."
        _fail(f"{type(error).__name__}: {error}.{hint}", 1, error if debug else None)


def _fail(message: str, code: int, error: BaseException | None = None) -> None:
    if error is not None:
        traceback.print_exception(error, file=sys.stderr)
    print(f"paceline: {message}", file=sys.stderr)
    sys.exit(code)
