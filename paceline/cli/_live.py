"""Text as it is written, drafted tokens tinted. Knows pieces, not models."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

from paceline.cli._output import on_terminal

__all__ = ["CONTROL", "Tint", "show"]

DRAFTED = "green"
# A model may write anything; what would steer the terminal is shown as a mark instead.
CONTROL = {code: "\ufffd" for code in [*range(32), *range(127, 160)] if chr(code) not in "\n\t"}


class Tint:
    """Splits streamed text into runs of drafted and plain characters.

    A piece's text lags behind its tokens (unfinished UTF-8 and possible stop strings are held back), so each token's
    share of the text is measured by decoding, in a short window that restarts whenever the two agree.
    """

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self.decode, self.tokens, self.marks = decode, list[int](), list[bool]()
        self.behind = ""  # text of the window that has been emitted already

    def runs(self, text: str, tokens: list[int], drafted: list[bool]) -> list[tuple[str, bool]]:
        """The runs (characters, drafted?) that make up `text`, given the tokens that came with it."""
        self.tokens += tokens
        self.marks += drafted
        ends = [len(self.decode(self.tokens[: i + 1])) for i in range(len(self.tokens))]
        start, out = len(self.behind), list[tuple[str, bool]]()
        for offset, char in enumerate(text, start):
            mark = next((m for end, m in zip(ends, self.marks, strict=True) if end > offset), False)
            if out and out[-1][1] == mark:
                out[-1] = (out[-1][0] + char, mark)
            else:
                out.append((char, mark))
        self.behind += text
        if ends and ends[-1] <= len(self.behind):
            self.tokens, self.marks, self.behind = self.tokens[-1:], self.marks[-1:], self.decode(self.tokens[-1:])
        return out


def show(pieces: Iterable[Any], decode: Callable[[list[int]], str] | None, opening: str = "") -> Any:
    """Print pieces as they come and return the finished Generation; plain text when stdout is not a terminal.

    opening: text the pieces continue, shown dimmed before them; only on a terminal.
    """
    if on_terminal():
        _echo(opening)
    write, generation = (_tinted(decode) if decode and on_terminal() else _plain), None
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
    return generation


def _echo(opening: str) -> None:
    from rich.console import Console

    Console(highlight=False, markup=False, emoji=False, soft_wrap=True).print(opening.translate(CONTROL), style="dim", end="")


def _plain(piece: Any) -> None:
    sys.stdout.write(piece.text)
    sys.stdout.flush()


def _tinted(decode: Callable[[list[int]], str]) -> Callable[[Any], None]:
    """Writes pieces to the terminal; every run of characters switches its own colour on and off again."""
    from rich.console import Console

    tint, console = Tint(decode), Console(highlight=False, markup=False, emoji=False, soft_wrap=True)

    def write(piece: Any) -> None:
        for run, drafted in tint.runs(piece.text, piece.tokens, piece.drafted):
            console.print(run.translate(CONTROL), style=DRAFTED if drafted else None, end="")

    return write
