"""What the verbs print: JSON written whole or not at all, progress only where somebody looks. Knows no model."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paceline.errors import DataError
from paceline.files import replace_text

__all__ = ["check_writable", "on_terminal", "progress", "say", "write_json", "write_text"]


def on_terminal() -> bool:
    """True when stdout is a terminal, so that colour and live text make sense."""
    return sys.stdout.isatty()


def say(message: str) -> None:
    """One line for the person at the terminal; stdout stays clean for whatever reads it."""
    print(message, file=sys.stderr)


def progress(work: Callable[[Any, Callable[[int], None]], dict[str, Any]], config: Any) -> dict[str, Any]:
    """Run `work(config, tick)` with a bar on stderr, one step for each `tick(total)`; none where nobody looks."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("measuring", total=None)
        return work(config, lambda total: bar.update(task, advance=1, total=total))


def check_writable(target: str | None, flag: str = "--json") -> None:
    """Fail before the work rather than after it when the folder of `--json FILE` is missing or cannot be written."""
    if target in (None, "-"):
        return
    path = Path(str(target))
    if os.path.isdir(path):
        raise DataError(f"{flag} expects a file; {path} is a folder.")
    try:
        path.exists()  # raises for a name that is too long
        with tempfile.NamedTemporaryFile(dir=Path(os.path.realpath(path)).parent, prefix=".paceline-"):
            pass
    except OSError as error:
        raise DataError(f"Cannot write {path}: {error.strerror or error}. {_elsewhere(flag)}") from error


def write_json(value: Any, target: str) -> None:
    """Write to a file in UTF-8, or to stdout for `-`, in ASCII where its encoding lacks characters: JSON loses nothing by it."""
    ascii_only = target == "-" and not (sys.stdout.encoding or "").lower().startswith("utf")
    write_text(json.dumps(value, indent=2, ensure_ascii=ascii_only) + "\n", target)


def write_text(text: str, target: str, flag: str = "--json") -> None:
    """Write to a file, or to stdout for `-`. A file appears whole or not at all."""
    if target == "-":
        sys.stdout.write(text)
        return
    try:
        replace_text(Path(target), text)
    except DataError as error:
        raise DataError(f"{error} {_elsewhere(flag)}") from error


def _elsewhere(flag: str) -> str:
    return f"Give {flag} another place{', or - for the terminal' if flag == '--json' else ''}."
