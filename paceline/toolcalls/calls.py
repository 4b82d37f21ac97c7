"""What may come next in a tool call, as text: openings, tool names, the names of arguments not yet used, values, closings.

Driven by what the text is, not by steps: a lexer reads what has been accepted, so a draft that is rejected moves nothing, and
the second call of an answer is drafted like the first. Source: ToolSpec (arXiv 2604.13519), section 3's states for a tool's
name, an argument's name, a value and other text. Departures: nested objects and arrays, numbers, booleans and choices;
`arguments` as well as `parameters`; several styles of writing a call; values copied from the message; branches that share a
beginning share it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from paceline.toolcalls.asked import END, SHOWN, Asked, Piece
from paceline.toolcalls.lexer import JsonLexer
from paceline.toolcalls.python_calls import PYTHON, python_pieces
from paceline.toolcalls.schema import Parameter, Tool
from paceline.toolcalls.spans import as_json

__all__ = ["STYLES", "Style", "Writing"]

ARGUMENTS = ("arguments", "parameters")


@dataclass(frozen=True)
class Style:
    """How a format writes calls. opening: what stands before an answer's first call. between: before each further one. closing:
    behind the last. python: name(key=value) instead of JSON.
    """

    opening: str
    between: str
    closing: str
    python: bool = False


STYLES: Mapping[str, Style] = {
    "tagged": Style("<tool_call>\n", "\n</tool_call>\n<tool_call>\n", "\n</tool_call>"),
    "fenced": Style("```<tool_call>\n", "\n", "\n</tool_call>\n```"),
    "raw": Style("", "\n", ""),
    "list": Style("[", ", ", "]"),
    "python": Style("[", ", ", "]", python=True),
}


@dataclass
class Writing:
    """An answer as far as it goes. `feed` it text, `fork` it to run ahead, ask for the `pieces` that may come next.

    gap: text outside calls since the last one. style: as the first call showed it. calls: that are complete.
    """

    asked: Asked
    lexer: JsonLexer = field(default_factory=JsonLexer)
    gap: str = ""
    style: str | None = None
    tool: Tool | None = None
    calls: int = 0
    last: str = ""

    def fork(self) -> "Writing":
        return Writing(self.asked, self.lexer.fork(), self.gap, self.style, self.tool, self.calls, self.last)

    def feed(self, text: str) -> None:
        """Read on. Broken JSON ends the call it is in; what follows is other text again."""
        if not text:
            return
        self.last = text[-1]
        if self.style == "python" or (self.style is None and PYTHON.match(self.gap + text)):
            self.style, self.gap = "python", self.gap + text
            return
        for char in text if self.lexer.state == "outside" or "}" in text or "{" in text else (text,):
            self._read(char)

    def _read(self, text: str) -> None:
        before = self.lexer.state
        events = self.lexer.feed(text)
        if self.lexer.state == "error":
            self.lexer.reset()
            self.gap, self.tool = text, None
            return
        if before == "outside" and self.lexer.state != "outside":
            self._begin()
        for event in events:
            if event.kind == "value" and event.path == ("name",):
                self.tool = self.asked.tools.get(event.value) if isinstance(event.value, str) else None
        if self.lexer.state == "outside":
            ended = before != "outside"
            self.calls += ended
            self.gap = "" if ended else self.gap + text

    def _begin(self) -> None:
        """A call begins: what stood before the first tells the style."""
        if self.style is None:
            fitting = [n for n, s in STYLES.items() if not s.python and s.opening and self.gap.endswith(s.opening)]
            self.style = max(fitting, key=lambda n: len(STYLES[n].opening)) if fitting else "raw"
        self.gap, self.tool = "", None

    def pieces(self) -> Iterator[Piece]:
        """What may come next; nothing where there is no telling."""
        if self.style == "python":
            yield from python_pieces(self.gap, self.asked)
        elif self.lexer.state == "outside":
            yield from self._outside()
        elif self.lexer.depth == 1:
            yield from self._call()
        else:
            yield from self._arguments()

    def _outside(self) -> Iterator[Piece]:
        if self.style is None:
            for name, style in STYLES.items():
                begun = opening_begun(self.gap, style.opening)
                if begun is not None and style.python:
                    names = python_pieces(style.opening, self.asked)
                    yield from (Piece(style.opening[begun:] + p.text, ("open", name, name == self.asked.hint)) for p in names)
                elif begun is not None:
                    yield Piece(style.opening[begun:] + '{"name":', ("open", name, name == self.asked.hint))
            return
        style = STYLES[self.style]
        if self.gap == style.closing:
            yield Piece(END, ("end of answer",))
        for text, kind in ((style.closing, "closing"), (style.between, "another call")):
            if text.startswith(self.gap) and len(text) > len(self.gap):
                yield Piece(text[len(self.gap) :] + ('{"name":' if kind == "another call" else ""), (kind, min(self.calls, 3)))

    def _call(self) -> Iterator[Piece]:
        """Between the braces of a call: its name and its arguments."""
        lexer, at = self.lexer, self.lexer.path
        if lexer.inside == "string" and at == ("name",):
            yield from self._named(self.asked.tools, lexer.raw)
        elif lexer.state == "colon":
            yield Piece(":", ("colon",))
        elif lexer.state == "value":
            opened = '"' if at == ("name",) else "{"
            yield Piece(self._space() + opened, ("opened", opened))
        elif lexer.state == "comma or end" and "name" in lexer.keys:
            done = [key for key in ARGUMENTS if key in lexer.keys]
            if done:
                yield Piece("}", ("end of call",))
            else:
                for key in ARGUMENTS:
                    yield Piece(f', "{key}": {{', ("arguments", key, self.style))
        elif lexer.state in ("key", "key or end") and not lexer.keys:
            yield Piece(f'{self._space()}"name":', ("name",))
        elif lexer.inside == "key":
            yield from self._named(("name", *ARGUMENTS), lexer.raw)

    def _named(self, names: Sequence[str] | Mapping[str, Tool], raw: str) -> Iterator[Piece]:
        fitting = [name for name in names if as_json(name).startswith(raw)][:SHOWN]
        for rank, name in enumerate(fitting):
            yield Piece(as_json(name)[len(raw) :] + '"', ("named", rank, bool(raw), len(fitting) == 1))

    def _arguments(self) -> Iterator[Piece]:
        """Within the arguments: keys, values, and what stands between."""
        lexer, here = self.lexer, self._parameter(self.lexer.path)
        if lexer.state in ("key", "key or end", "in key"):
            yield from self._keys(here)
        elif lexer.state == "colon":
            yield Piece(":", ("colon",))
        elif lexer.state == "comma or end" or (lexer.state == "in number" and here and lexer.raw in self.asked.values(here)):
            yield from self._after()
        if here is not None and lexer.state in ("value", "value or end", "in string", "in number", "in literal"):
            yield from self._value(here)

    def _keys(self, holder: Parameter | None, lead: str = "") -> Iterator[Piece]:
        lexer = self.lexer
        raw = lexer.raw if lexer.inside == "key" else ""
        quote = lead + ("" if lexer.inside == "key" else self._space() + '"')
        used = lexer.keys
        free = [p for p in (holder.properties if holder else ()) if p.name not in used and as_json(p.name).startswith(raw)]
        free.sort(key=lambda p: not p.required)
        for rank, parameter in enumerate(free[:SHOWN]):
            yield Piece(f'{quote}{as_json(parameter.name)[len(raw) :]}":', ("key", rank, parameter.required, bool(raw)))
        if not raw and lexer.inside != "key" and (lead or lexer.state == "key or end"):
            needed = any(p.required for p in free)
            yield Piece("}", ("close", needed, bool(free)))

    def _after(self) -> Iterator[Piece]:
        """Behind a value: the next key or item, or the end."""
        if self.lexer.container == "object":
            holder = self._parameter(self.lexer.path[:-1])
            yield from self._keys(holder, lead=", ") if self.lexer.state != "in number" else self._keys_behind(holder)
        else:
            yield Piece("]", ("close list",))
            yield Piece(", ", ("next item",))

    def _keys_behind(self, holder: Parameter | None) -> Iterator[Piece]:
        """The same behind a number, which only what follows ends."""
        ended = self.fork()
        ended.lexer.feed(" ")
        ended.last = self.last
        yield from ended._keys(holder, lead=", ")

    def _value(self, here: Parameter) -> Iterator[Piece]:
        lexer, fresh = self.lexer, self.lexer.state.startswith("value")
        if fresh and here.type in ("object", "array", "string", "any") and not (here.enum and here.type != "string"):
            yield Piece(self._space() + {"object": "{", "array": "["}.get(here.type, '"'), ("opened", here.type))
            return
        raw, ending = "" if fresh else lexer.raw, '"' if lexer.inside == "string" else ""
        lead = self._space() if fresh else ""
        fitting = [text for text in self.asked.values(here) if text.startswith(raw) and (ending or len(text) > len(raw))]
        for rank, text in enumerate(fitting[:SHOWN]):
            kind = ("value", here.type, min(rank, 4), min(len(raw), 3), bool(here.enum), len(fitting) == 1)
            yield Piece(lead + text[len(raw) :] + ending, kind)

    def _space(self) -> str:
        return " " if self.last in (":", ",") else ""

    def _parameter(self, path: tuple[str | int, ...]) -> Parameter | None:
        """What the schema says of the value at a path of the call."""
        if self.tool is None or not path or path[0] not in ARGUMENTS:
            return None
        here: Parameter | None = Parameter("", "object", properties=self.tool.parameters)
        for step in path[1:]:
            if here is None:
                return None
            here = here.items if isinstance(step, int) else next((p for p in here.properties if p.name == step), None)
        return here


def opening_begun(gap: str, opening: str) -> int | None:
    """How much of an opening stands at the end of a text: at the very start any part of it, later at least two characters."""
    if opening.startswith(gap):
        return len(gap)
    tail = gap[gap.rfind("\n") + 1 :]
    return len(tail) if len(tail) >= 2 and opening.startswith(tail) else None
