"""How models write tool calls, one file a format, found by walking this folder. A format drafts calls and parses them."""

import importlib
import pkgutil
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple, Protocol

from paceline.toolcalls.asked import Asked, Piece

__all__ = ["Call", "Format", "Writer", "formats", "shown"]


class Call(NamedTuple):
    """A call that is complete: the tool's name, and its arguments as Python has them."""

    name: str
    arguments: dict[str, Any]


class Writer(Protocol):
    """Calls of one format as they are being written. `feed` it text, `fork` it to run ahead, ask for what may come next."""

    def feed(self, text: str) -> None: ...

    def fork(self) -> "Writer": ...

    def pieces(self) -> Iterator[Piece]: ...


class Format(Protocol):
    """What a file of this folder offers. opening: what stands before an answer's first call."""

    @property
    def opening(self) -> str: ...

    def shown(self, prompt: str) -> int:
        """How surely a prompt asks for this format, by its example; 0 = it does not."""

    def begun(self, text: str) -> int:
        """How surely an answer that ends here has begun a first call of this format; 0 = it has not."""

    def first(self, asked: Asked) -> Iterator[str]:
        """What may follow the opening."""

    def writer(self, asked: Asked, text: str) -> Writer:
        """Reads on from an answer that has begun its first call."""

    def parse(self, text: str) -> list[Call]:
        """The calls of a whole answer; none where it has none of this format. Raises DataError for one that is broken."""


@cache
def formats() -> dict[str, Format]:
    """File name -> the one public object of each file."""
    names = [m.name for m in pkgutil.iter_modules(__path__) if m.name[0] != "_"]
    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in names}
    return {name: getattr(module, module.__all__[0]) for name, module in modules.items()}


def shown(prompt: str) -> str:
    """The name of the format that a prompt asks for, by its example."""
    return max(formats(), key=lambda name: formats()[name].shown(prompt))
