"""Values that a tool call may copy from a message: spans of the text by type, and the likeliest of them for a parameter."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from paceline.toolcalls.schema import Parameter

__all__ = ["Span", "candidates", "spans_of"]

MONTHS = ("january", "february", "march", "april", "may", "june", "july", "august", "september", "october", "november",
          "december")
PATTERNS = {
    "quoted": re.compile(r"(?<![\w])[\"'“‘]([^\"'“”‘’\n]{1,60})[\"'”’](?![\w])"),
    "email": re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]*\w"),
    "moment": re.compile(r"\b\d{4}-\d\d-\d\d[ T]\d\d:\d\d(?::\d\d)?\b"),
    "date": re.compile(r"\b\d{4}-\d\d-\d\d\b"),
    "clock": re.compile(r"\b\d{1,2}:\d\d(?::\d\d)?\b"),
    "number": re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w]|\.\d)"),
    "name": re.compile(r"\b[A-Z][\w'-]*(?:[ ](?:[A-Z][\w'-]*|of|the|and)(?=[ ][A-Z]|\b))*(?:[ ][A-Z][\w'-]*)?"),
    "code": re.compile(r"\b(?=\w*\d)(?=\w*[A-Za-z])[\w-]{3,40}\b"),
    "word": re.compile(r"\b[a-z][\w-]{2,}\b"),
}
SPOKEN = re.compile(rf"\b({'|'.join(MONTHS)}) (\d{{1,2}})(?:st|nd|rd|th)?(?:,? (\d{{4}}))?", re.I)
HOUR = re.compile(r"\b(\d{1,2})(?::(\d\d))? ?([ap])\.?m\b\.?", re.I)
YEAR = re.compile(r"\b(?:19|20)\d\d\b")
JSON = json.JSONEncoder(ensure_ascii=False).encode
NEAR = 24  # characters before a value in which its parameter's name says that it is meant


@dataclass(frozen=True, slots=True)
class Span:
    """A value as a call would write it, what kind it is, and where it stood.

    written: as JSON has it, without quotes. before, behind: what stands around it, in small letters, the latter of a number only
    (3 nights). likely: how well it goes with any parameter.
    """

    text: str
    kind: str
    place: int
    written: str
    before: str
    behind: str
    likely: float


def spans_of(text: str) -> tuple[Span, ...]:
    """All values of a message, in order; of equal ones of a kind the last place."""
    found: dict[tuple[str, str], int] = {}
    for value, kind, place in sorted(_spans(text), key=lambda span: span[2]):
        found.pop((value, kind), None)
        found[value, kind] = place
    return tuple(_placed(value, kind, place, text) for (value, kind), place in found.items())


def _placed(value: str, kind: str, place: int, text: str) -> Span:
    """A value with what may be said of it before a parameter is known, once for all of them."""
    before = text[max(0, place - NEAR) : place].lower()
    behind = text[(end := place + len(value)) : end + NEAR // 2].lower() if kind == "number" else ""
    opens = kind == "name" and before[-2:] in ("", "\n", ". ", "? ", "! ", "> ")  # any word has a capital there
    several = kind == "name" and " " in value
    return Span(value, kind, place, as_json(value), before, behind, FITS[kind] - 2.0 * opens + several + place / len(text))


def _spans(text: str) -> Iterator[tuple[str, str, int]]:
    for kind, pattern in PATTERNS.items():
        for match in pattern.finditer(text):
            value = match[match.lastindex or 0]
            if kind != "name" or (len(value) > 1 and value.lower() not in MONTHS):
                yield value, kind, match.start(match.lastindex or 0)
    years = YEAR.findall(text)
    for match in SPOKEN.finditer(text):
        month, year = MONTHS.index(match[1].lower()) + 1, match[3] or (years[-1] if years else None)
        if year is not None:
            yield f"{year}-{month:02}-{int(match[2]):02}", "date", match.start()
    for match in HOUR.finditer(text):
        hour = int(match[1]) % 12 + 12 * (match[3].lower() == "p")
        for written in (f"{hour:02}:{match[2] or '00'}", f"{hour:02}:{match[2] or '00'}:00"):
            yield written, "clock", match.start()


FITS = {"quoted": 5.0, "name": 3.0, "code": 3.0, "email": 2.0, "moment": 2.0, "date": 2.0, "clock": 1.0, "number": 1.0,
        "word": 0.5}
MEANT = (  # words in a parameter's name or format, and the kinds of value that they ask for
    (("datetime", "timestamp"), ("moment", "date")),
    (("date", "day", "deadline", "birthday", "from", "until"), ("date", "moment")),
    (("time", "hour", "slot"), ("clock", "moment")),
    (("email", "mail", "recipient", "sender", "address", "to"), ("email",)),
    (("id", "token", "code", "number", "reference", "serial", "account", "password", "key"), ("code", "number")),
    (("name", "user", "username", "patient", "doctor", "person", "guest", "city", "location", "place", "country"), ("name",)),
    (("title", "message", "content", "query", "text", "subject", "comment", "body", "keyword"), ("quoted",)),
)
PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


def candidates(parameter: Parameter, spans: tuple[Span, ...], message: str) -> list[str]:
    """Values for a parameter as JSON writes them (a string's without its quotes), the likeliest first."""
    if parameter.enum:
        lowered = message.lower()
        written = [as_json(value) for value in parameter.enum]
        return sorted(written, key=lambda text: text.lower() not in lowered)  # stable: as the schema lists them
    if parameter.type == "boolean":
        return ["true", "false"]
    if parameter.type in ("integer", "number"):
        whole = parameter.type == "integer"
        fitting = [span for span in spans if span.kind == "number" and not (whole and "." in span.text)]
    else:
        fitting = [span for span in spans if parameter.type in ("string", "any")]
    words = frozenset(part.lower() for part in PARTS.findall(parameter.name + " " + (parameter.format or "").replace("-", "")))
    meant = frozenset(kind for asked, kinds in MEANT if words.intersection(asked) for kind in kinds)
    ranked = sorted(fitting, key=lambda span: -suits(span, words, meant))
    return list(dict.fromkeys(span.written for span in ranked))


def suits(span: Span, words: frozenset[str], meant: frozenset[str]) -> float:
    """How well a value goes with the words of a parameter's name: by its kind, what stands before it, and later ones better."""
    before, behind, named = span.before, span.behind, 0.0
    for word in words:
        near = before.rfind(word)  # 1 where the word stands at once, less the further off it is
        best = 0.0 if near < 0 else 1.0 - (len(before) - near - len(word)) / NEAR
        if behind and (near := behind.find(word)) >= 0:
            best = max(best, 1.0 - near / NEAR)
        named += best
    return span.likely + 4.0 * (span.kind in meant) + 4.0 * named / max(1, len(words))


def as_json(value: Any) -> str:
    """As it stands in a call; a string without its quotes."""
    text = JSON(value)
    return text[1:-1] if isinstance(value, str) else text
