"""JSON as it is being written: what has been said, where the text stands, and what may come next, after any piece of it.

For drafting tool calls: the accepted text is fed as it grows, in pieces cut anywhere, and a copy (`fork`) is run ahead along what
is drafted. Broken text is a state, never an exception. The language is RFC 8259, so NaN, comments and trailing commas are errors,
except that anything may stand before, between and after the texts.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

__all__ = ["DEPTH", "Event", "Frame", "JsonLexer", "State"]

DEPTH = 256  # deepest nesting; more is an error, so that a run of brackets costs no more than other text

State = Literal["outside", "key or end", "key", "colon", "value or end", "value", "comma or end",
                "in key", "in string", "in number", "in literal", "error"]  # fmt: skip
Path = tuple[str | int, ...]

SPACE = re.compile(r"[ \t\n\r]*")
PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
NUMERIC = re.compile(r"[-+.eE0-9]*")
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
NUMBER_SO_FAR = re.compile(r"-?(?:(?:0|[1-9][0-9]*)(?:(?:\.[0-9]+)?[eE][-+]?[0-9]*|\.[0-9]*)?)?")
LITERALS: dict[str, Any] = {"true": True, "false": False, "null": None}
ESCAPES = frozenset('"\\/bfnrt')
HEX = frozenset("0123456789abcdefABCDEF")


@dataclass(frozen=True, slots=True)
class Event:
    """Something that is complete: object_start, object_end, array_start, array_end, key (`value` is the name), or value (a
    string, number, true, false or null as Python has it). `path`: names and indices from the root to the thing; a key's ends
    with its name.
    """

    kind: str
    path: Path
    value: Any = None


@dataclass(frozen=True, slots=True)
class Frame:
    """An open container: object or array, the different keys seen so far, and the key or index that it stands at."""

    kind: str
    keys: tuple[str, ...] = ()
    at: str | int | None = None


@dataclass(slots=True)
class JsonLexer:
    """Feed it text; between two pieces it tells where the text stands. A copy costs as much as a handful of attributes.

    arrays: whether a text may also begin with `[`; else what stands before a `{` is skipped, and a list of objects reads as one
    object after the other. state: what may come next, or what the text is in the middle of. stack: open containers, outermost
    first. raw: the string, number or literal that is being written, as it stands there, without the opening quote. position:
    characters read. texts: JSON texts that are complete. error: why the state is "error".
    """

    arrays: bool = False
    state: State = field(default="outside", init=False)
    stack: tuple[Frame, ...] = field(default=(), init=False)
    raw: str = field(default="", init=False)
    position: int = field(default=0, init=False)
    texts: int = field(default=0, init=False)
    error: str | None = field(default=None, init=False)
    _escape: str = field(default="", init=False)  # an escape that is not complete

    def feed(self, text: str) -> list[Event]:
        """Read on; returns what became complete. After an error nothing is read until `reset`."""
        events: list[Event] = []
        at = 0
        while at < len(text) and self.state != "error":
            at = STEPS[self.state](self, text, at, events)
        self.position += at
        return events

    def fork(self) -> "JsonLexer":
        """An independent copy; several times as fast as `copy.copy`, and drafting makes many."""
        twin = JsonLexer.__new__(JsonLexer)
        for name in self.__slots__:
            setattr(twin, name, getattr(self, name))
        return twin

    def reset(self) -> None:
        """Outside of any JSON again, whatever was open; counts of characters and texts go on."""
        self.state, self.stack, self.error = "outside", (), None
        self._begin("outside")

    @property
    def inside(self) -> str:
        """key, string, number, literal: in the middle of one; between: in a container, between two; outside; error."""
        name = self.state.removeprefix("in ")
        return name if name != self.state or self.state in ("outside", "error") else "between"

    @property
    def container(self) -> str | None:
        """object or array; None outside."""
        return self.stack[-1].kind if self.stack else None

    @property
    def depth(self) -> int:
        return len(self.stack)

    @property
    def keys(self) -> tuple[str, ...]:
        """The different keys that the innermost object has so far, in order; none in an array."""
        return self.stack[-1].keys if self.stack else ()

    @property
    def path(self) -> Path:
        """Of the value that is being written, is expected or was the last; of the container itself where a key is next."""
        return tuple(frame.at for frame in self.stack if frame.at is not None)

    @property
    def text(self) -> str:
        """`raw`, decoded; an escape that is not complete is left out, and a half of a surrogate pair while the other may come."""
        if self.inside not in ("key", "string"):
            return self.raw
        text = decoded(self.raw[: len(self.raw) - len(self._escape)])
        return text[:-1] if text and "\ud800" <= text[-1] <= "\udbff" else text

    # -- one step each: read from `at` on, return where to go on ---------------------------------------------------------

    def _outside(self, text: str, at: int, events: list[Event]) -> int:
        starts = [i for i in (text.find("{", at), text.find("[", at) if self.arrays else -1) if i >= 0]
        return self._open(text[min(starts)], min(starts), events) if starts else len(text)

    def _between(self, text: str, at: int, events: list[Event]) -> int:
        at = _end(SPACE, text, at)
        if at == len(text):
            return at
        char, state = text[at], self.state
        if state == "colon" and char == ":":
            return self._begin("value", at)
        if state == "comma or end" and char == ",":
            return self._next(at)
        if state.endswith("or end") and char == ("}" if self.container == "object" else "]"):
            return self._close(at, events)
        if state.startswith("key") and char == '"':
            return self._begin("in key", at)
        if state.startswith("value"):
            return self._value(char, at, events)
        return self._fail(at, f"{'a ' if state != 'comma or end' else ''}{state} of the {self.container}", char)

    def _value(self, char: str, at: int, events: list[Event]) -> int:
        if char == '"':
            return self._begin("in string", at)
        if char in "{[":
            return self._open(char, at, events)
        if char in "-0123456789":
            return self._begin("in number", at - 1)
        if char in "tfn":
            return self._begin("in literal", at - 1)
        return self._fail(at, "a value", char)

    def _string(self, text: str, at: int, events: list[Event]) -> int:
        if self._escape:
            return self._escaped(text[at], at)
        end = _end(PLAIN, text, at)
        self.raw += text[at:end]
        if end == len(text):
            return end
        if text[end] == '"':
            return self._end_string(end, events)
        if text[end] != "\\":
            return self._fail(end, "no control character in a string", text[end])
        self._escape = "\\"
        self.raw += "\\"
        return end + 1

    def _escaped(self, char: str, at: int) -> int:
        """One character of an escape."""
        escape = self._escape + char
        simple = len(escape) == 2 and char != "u"
        if (simple and char not in ESCAPES) or (len(escape) > 2 and char not in HEX):
            return self._fail(at, "an escape that JSON knows", escape)
        self.raw += char
        self._escape = "" if simple or len(escape) == 6 else escape
        return at + 1

    def _number(self, text: str, at: int, events: list[Event]) -> int:
        end = _end(NUMERIC, text, at)
        before, self.raw = len(self.raw), self.raw + text[at:end]
        good = _end(NUMBER_SO_FAR, self.raw, 0)
        if good < len(self.raw):
            return self._fail(at + good - before, "a number", self.raw[: good + 1])
        if end == len(text):
            return end
        if not NUMBER.fullmatch(self.raw):
            return self._fail(end, "the rest of a number", text[end])
        try:
            value = int(self.raw) if self.raw.lstrip("-").isdigit() else float(self.raw)
        except ValueError:  # Python reads whole numbers of some thousand digits only
            return self._fail(end, "a number that can be held", f"{len(self.raw)} digits")
        return self._scalar(value, end, events)

    def _literal(self, text: str, at: int, events: list[Event]) -> int:
        self.raw += text[at]
        if self.raw in LITERALS:
            return self._scalar(LITERALS[self.raw], at + 1, events)
        if not any(literal.startswith(self.raw) for literal in LITERALS):
            return self._fail(at, "true, false or null", self.raw)
        return at + 1

    # -- what steps are made of ------------------------------------------------------------------------------------------

    def _begin(self, state: State, at: int = 0) -> int:
        """A new state, with nothing written in it; returns the place behind `at`."""
        self.state, self.raw, self._escape = state, "", ""
        return at + 1

    def _open(self, char: str, at: int, events: list[Event]) -> int:
        if self.depth == DEPTH:
            return self._fail(at, f"no more than {DEPTH} levels", char)
        kind = "object" if char == "{" else "array"
        events.append(Event(f"{kind}_start", self.path))
        self.stack += (Frame(kind, at=None if kind == "object" else 0),)
        return self._begin("key or end" if kind == "object" else "value or end", at)

    def _close(self, at: int, events: list[Event]) -> int:
        kind = self.stack[-1].kind
        self.stack = self.stack[:-1]
        events.append(Event(f"{kind}_end", self.path))
        self.texts += not self.stack
        return self._begin("comma or end" if self.stack else "outside", at)

    def _next(self, at: int) -> int:
        top = self.stack[-1]
        index = top.at + 1 if isinstance(top.at, int) else None
        self.stack = (*self.stack[:-1], Frame(top.kind, top.keys, index))
        return self._begin("key" if index is None else "value", at)

    def _end_string(self, at: int, events: list[Event]) -> int:
        name = decoded(self.raw)
        if self.state == "in string":
            return self._scalar(name, at + 1, events)
        top = self.stack[-1]
        keys = top.keys if name in top.keys else (*top.keys, name)
        self.stack = (*self.stack[:-1], Frame(top.kind, keys, name))
        events.append(Event("key", self.path, name))
        return self._begin("colon", at)

    def _scalar(self, value: Any, at: int, events: list[Event]) -> int:
        """A value is complete before `at`."""
        events.append(Event("value", self.path, value))
        return self._begin("comma or end", at - 1)

    def _fail(self, at: int, expected: str, found: str) -> int:
        self._begin("error")
        self.error = f"character {self.position + at}: expected {expected}; found {found[-20:]!r}"
        return at


def decoded(raw: str) -> str:
    """The text of a string that is known to be well written."""
    return json.loads(f'"{raw}"')


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    """Where the run that begins at `at` ends; every pattern here matches the empty run."""
    found = pattern.match(text, at)
    return at if found is None else found.end()


STEPS: dict[State, Callable[[JsonLexer, str, int, list[Event]], int]] = {
    "outside": JsonLexer._outside, "in key": JsonLexer._string, "in string": JsonLexer._string,
    "in number": JsonLexer._number, "in literal": JsonLexer._literal,
    **dict.fromkeys(("key or end", "key", "colon", "value or end", "value", "comma or end"), JsonLexer._between),
}  # fmt: skip
