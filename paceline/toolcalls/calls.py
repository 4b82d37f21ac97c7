"""What may come next in an answer that calls tools, as text: openings, names, arguments not yet used, values, closings.

Driven by what the text is, not by steps: what has been accepted is read, so a draft that is rejected moves nothing, and the
second call of an answer is drafted like the first. The first call tells the format, whose writer goes on from there. Source:
ToolSpec (arXiv 2604.13519), section 3's states for a tool's name, an argument's name, a value and other text. Departures: nested
objects and arrays, numbers, booleans and choices; `arguments` as well as `parameters`; several formats; values copied from the
message; branches that share a beginning share it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from paceline.toolcalls.asked import Asked, Piece
from paceline.toolcalls.formats import Writer, formats

__all__ = ["Writing"]


@dataclass
class Writing:
    """An answer as far as it goes. `feed` it text, `fork` it to run ahead, ask for the `pieces` that may come next.

    text: the answer before its first call. writer: reads it from there on.
    """

    asked: Asked
    text: str = ""
    writer: Writer | None = None

    def fork(self) -> "Writing":
        return Writing(self.asked, self.text, self.writer and self.writer.fork())

    def feed(self, text: str) -> None:
        """Read on."""
        for at, char in enumerate(text):
            if self.writer is not None:
                self.writer.feed(text[at:])
                return
            self.text += char
            self._begin()

    def _begin(self) -> None:
        """The format that the text begins the most surely, where it begins one."""
        sure, name = max((made.begun(self.text), name) for name, made in formats().items())
        if sure:
            self.writer = formats()[name].writer(self.asked, self.text)

    def pieces(self) -> Iterator[Piece]:
        """What may come next; nothing where there is no telling."""
        if self.writer is not None:
            yield from self.writer.pieces()
            return
        for name, made in formats().items():
            begun = opening_begun(self.text, made.opening)
            if begun is not None:
                for text in made.first(self.asked):
                    yield Piece(made.opening[begun:] + text, ("open", name, name == self.asked.format))


def opening_begun(text: str, opening: str) -> int | None:
    """How much of an opening stands at the end of a text: at the very start any part of it, later at least two characters."""
    if opening.startswith(text):
        return len(text)
    tail = text[text.rfind("\n") + 1 :]
    return len(tail) if len(tail) >= 2 and opening.startswith(tail) else None
