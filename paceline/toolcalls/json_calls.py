"""Calls as JSON objects with a name and arguments: how they are told, drafted and parsed, whatever stands around them."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from paceline.errors import DataError
from paceline.toolcalls.asked import END, SHOWN, Asked, Piece
from paceline.toolcalls.formats import Call
from paceline.toolcalls.lexer import JsonLexer
from paceline.toolcalls.schema import Parameter, Tool
from paceline.toolcalls.spans import as_json

__all__ = ["JsonFormat", "JsonWriter"]

ARGUMENTS = ("arguments", "parameters")
FIRST = '{"name":'


@dataclass(frozen=True)
class JsonFormat:
    """opening: what stands before an answer's first call. between: before each further one. closing: behind the last. sign: a
    regular expression of what shows the format in a prompt; sure: how much that says beside other formats' signs. likelier: what
    a call's arguments are called more often.
    """

    opening: str
    between: str
    closing: str
    sign: str
    sure: int
    likelier: str = "arguments"

    def shown(self, prompt: str) -> int:
        return self.sure if re.search(self.sign, prompt) else 0

    def begun(self, text: str) -> int:
        """The longest opening tells the most; a bare brace is a call too."""
        return 1 + len(self.opening) if text.endswith(self.opening + "{") else 0

    def first(self, asked: Asked) -> Iterator[str]:
        yield FIRST

    def writer(self, asked: Asked, text: str) -> "JsonWriter":
        writer = JsonWriter(self, asked)
        writer.feed("{")
        return writer

    def parse(self, text: str) -> list[Call]:
        """White space may stand otherwise than where the format has it."""
        calls, at = list[Call](), loosely(self.opening).search(text) if self.opening else re.match(r"\s*(?=\{)", text)
        while at:
            call, stop = parsed(text, at.end())
            calls.append(call)
            at = loosely(self.between).match(text, stop)
        return calls


def loosely(text: str) -> re.Pattern[str]:
    """What stands before a call, with any white space in it."""
    return re.compile(r"\s*" + r"\s*".join(map(re.escape, text.split())) + r"\s*(?=\{)")


def parsed(text: str, at: int) -> tuple[Call, int]:
    """The call that begins here, and where it ends."""
    try:
        value, stop = json.JSONDecoder().raw_decode(text, at)
    except (ValueError, RecursionError) as error:
        raise DataError(f"Expected a tool call as JSON; found {text[at : at + 40]!r} ({error}).") from error
    arguments: Any = next((value[key] for key in ARGUMENTS if key in value), {})
    if not isinstance(value.get("name"), str) or not isinstance(arguments, dict):
        raise DataError(f"Expected a tool call with a name and an object of arguments; found {text[at:stop][:40]!r}.")
    return Call(value["name"], arguments), stop


@dataclass
class JsonWriter:
    """Calls of a format as they are being written. gap: text outside calls since the last one. calls: that are complete."""

    format: JsonFormat
    asked: Asked
    lexer: JsonLexer = field(default_factory=JsonLexer)
    gap: str = ""
    tool: Tool | None = None
    calls: int = 0
    last: str = ""

    def fork(self) -> "JsonWriter":
        return JsonWriter(self.format, self.asked, self.lexer.fork(), self.gap, self.tool, self.calls, self.last)

    def feed(self, text: str) -> None:
        """Read on. Broken JSON ends the call it is in; what follows is other text again."""
        if not text:
            return
        self.last = text[-1]
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
            self.gap, self.tool = "", None
        for event in events:
            if event.kind == "value" and event.path == ("name",):
                self.tool = self.asked.tools.get(event.value) if isinstance(event.value, str) else None
        if self.lexer.state == "outside":
            ended = before != "outside"
            self.calls += ended
            self.gap = "" if ended else self.gap + text

    def pieces(self) -> Iterator[Piece]:
        """What may come next; nothing where there is no telling."""
        if self.lexer.state == "outside":
            yield from self._outside()
        elif self.lexer.depth == 1:
            yield from self._call()
        else:
            yield from self._arguments()

    def _outside(self) -> Iterator[Piece]:
        """Behind a call: the end, or another call."""
        if self.gap == self.format.closing:
            yield Piece(END, ("end of answer",))
        for text, first, kind in ((self.format.closing, "", "closing"), (self.format.between, FIRST, "another call")):
            if text.startswith(self.gap) and len(text) > len(self.gap):
                yield Piece(text[len(self.gap) :] + first, (kind, min(self.calls, 3)))

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
                    yield Piece(f', "{key}": {{', ("arguments", key == self.format.likelier, self.format.opening))
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
