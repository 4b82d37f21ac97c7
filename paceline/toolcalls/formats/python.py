"""A list of calls as Python writes them, `[name(key=value, …), …]`."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from paceline.errors import DataError
from paceline.toolcalls.asked import END, SHOWN, Asked, Piece
from paceline.toolcalls.formats import Call
from paceline.toolcalls.schema import Tool

__all__ = ["PYTHON"]

BEGUN = re.compile(r"\s*\[[A-Za-z_][\w.]*\(")  # how such a list begins
KEYWORD = re.compile(r"(?:^|, )([A-Za-z_]\w*)=")
VALUE = re.compile(r"'[^']*'|\"[^\"]*\"|-?\d+(?:\.\d+)?(?=,|\))|True|False|None|\[.*\]|\{.*\}", re.S)


@dataclass
class PythonWriter:
    """An answer as far as it goes."""

    asked: Asked
    text: str

    def fork(self) -> "PythonWriter":
        return PythonWriter(self.asked, self.text)

    def feed(self, text: str) -> None:
        self.text += text

    def pieces(self) -> Iterator[Piece]:
        return following(self.text, self.asked)


class PythonFormat:
    """The format, as the Berkeley leaderboard's prompts ask for it."""

    opening = "["

    def shown(self, prompt: str) -> int:
        return 3 if re.search(r"\[\w+\([\w]+=", prompt) else 0

    def begun(self, text: str) -> int:
        return len(text) if BEGUN.match(text) else 0

    def first(self, asked: Asked) -> Iterator[str]:
        return (piece.text for piece in following(self.opening, asked))

    def writer(self, asked: Asked, text: str) -> PythonWriter:
        return PythonWriter(asked, text)

    def parse(self, text: str) -> list[Call]:
        if not BEGUN.match(text):
            return []
        try:
            calls = ast.parse(text.strip(), mode="eval").body.elts  # type: ignore[attr-defined]
            return [Call(ast.unparse(call.func), {k.arg: ast.literal_eval(k.value) for k in call.keywords}) for call in calls]
        except (SyntaxError, ValueError, AttributeError, MemoryError, RecursionError) as error:
            raise DataError(f"Expected a list of calls as Python writes them; found {text.strip()[:40]!r} ({error}).") from error


PYTHON = PythonFormat()


def following(text: str, asked: Asked) -> Iterator[Piece]:
    """What may come next in `[name(key=value, …), …]`."""
    inner = text.lstrip()[1:]
    call = inner[inner.rfind("), ") + 3 if "), " in inner else 0 :]
    name, opened, rest = call.partition("(")
    if inner.endswith("]") and not opened:
        yield Piece(END, ("end of answer",))
    elif not opened:
        fitting = [n for n in asked.tools if n.startswith(name)][:SHOWN]
        for rank, full in enumerate(fitting):
            yield Piece(full[len(name) :] + "(", ("named", rank, bool(name), len(fitting) == 1))
    elif name in asked.tools:
        yield from arguments(rest, asked, asked.tools[name])


def arguments(rest: str, asked: Asked, tool: Tool) -> Iterator[Piece]:
    """Behind the bracket of a call."""
    if rest.endswith(")"):
        yield Piece("]", ("closing", 1))
        yield Piece(", ", ("another call", 1))
        return
    used = KEYWORD.findall(rest)
    at = max((m.end() for m in KEYWORD.finditer(rest)), default=0)
    value = rest[at:]
    here = next((p for p in tool.parameters if used and p.name == used[-1]), None)
    free = sorted((p for p in tool.parameters if p.name not in used), key=lambda p: not p.required)
    if here is not None and not VALUE.fullmatch(value):
        quoted = here.type in ("string", "any")
        for rank, text in enumerate(asked.values(here)[:SHOWN]):
            written = f"'{text}'" if quoted else text.capitalize() if here.type == "boolean" else text
            if written.startswith(value) and written != value:
                yield Piece(written[len(value) :], ("value", here.type, min(rank, 4), min(len(value), 3), bool(here.enum), False))
        if value not in asked.values(here):  # a number may be whole, or go on
            return
    lead = ", " if here is not None else ""
    begun = "" if here is not None else value
    for rank, parameter in enumerate(free[:SHOWN]):
        if (lead + parameter.name).startswith(begun):
            yield Piece((lead + parameter.name)[len(begun) :] + "=", ("key", rank, parameter.required, bool(begun)))
    if not begun:
        yield Piece(")", ("close", any(p.required for p in free), bool(free)))
