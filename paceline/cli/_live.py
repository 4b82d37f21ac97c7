"""Text as it is written, drafted tokens tinted. Knows pieces, not models."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import Any

from paceline.cli._output import on_terminal

__all__ = ["Tint", "show"]

DRAFTED = "green"


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


def show(pieces: Iterable[Any], decode: Callable[[list[int]], str] | None) -> Any:
    """Print pieces as they come and return the finished Generation; plain text when stdout is not a terminal."""
    generation, tint = None, Tint(decode) if decode and on_terminal() else None
    console = _console() if tint else None
    try:
        for piece in pieces:
            if console and tint:
                for run, drafted in tint.runs(piece.text, piece.tokens, piece.drafted):
                    console.print(
                        run, style=DRAFTED if drafted else None, end="", markup=False, highlight=False, soft_wrap=True
                    )
            else:
                sys.stdout.write(piece.text)
                sys.stdout.flush()
            generation = piece.generation or generation
    finally:
        sys.stdout.write("\n")
        sys.stdout.flush()
    return generation


def _console() -> Any:
    from rich.console import Console

    return Console(highlight=False)
