"""Text as it is written, drafted tokens tinted. Knows pieces, not models."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from paceline.cli._output import on_terminal

if TYPE_CHECKING:  # torch comes with it, and --help has no use for that
    from paceline import Generation, Piece

__all__ = ["CONTROL", "show"]

DRAFTED = "green"
# A model may write anything; what would steer the terminal is shown as a mark instead.
CONTROL = {code: "\ufffd" for code in [*range(32), *range(127, 160)] if chr(code) not in "\n\t"}


def show(pieces: Iterable[Piece], opening: str = "") -> Generation:
    """Print pieces as they come and return the finished Generation; plain text when stdout is not a terminal.

    opening: text the pieces continue, shown dimmed before them; only on a terminal.
    """
    if on_terminal():
        _echo(opening)
    write, generation = (_tinted() if on_terminal() else _plain), None
    try:
        for piece in pieces:
            write(piece)
            generation = piece.generation or generation
    except BaseException:
        if on_terminal():  # whatever follows starts on a line of its own
            sys.stdout.write("\n")
        raise
    sys.stdout.write("\n")
    sys.stdout.flush()
    assert generation is not None, "a stream ends with its generation"
    return generation


def _echo(opening: str) -> None:
    from rich.console import Console

    Console(highlight=False, markup=False, emoji=False, soft_wrap=True).print(opening.translate(CONTROL), style="dim", end="")


def _plain(piece: Piece) -> None:
    sys.stdout.write(piece.text)
    sys.stdout.flush()


def _tinted() -> Callable[[Piece], None]:
    """Writes pieces to the terminal; every run of characters switches its own colour on and off again."""
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)

    def write(piece: Piece) -> None:
        for span in piece.spans:
            console.print(span.text.translate(CONTROL), style=DRAFTED if span.drafted else None, end="")

    return write
