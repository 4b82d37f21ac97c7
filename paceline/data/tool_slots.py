"""Parameters of made-up tools: each kind knows its names, its JSON type, how to draw a value and how people mention
it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

from paceline.data import words

__all__ = ["Slot", "make_slot", "spoken"]


@dataclass(frozen=True)
class Slot:
    """A parameter of a tool: its schema, how values are drawn, and how a request mentions one (``{}`` is the value)."""

    name: str
    schema: dict[str, Any]
    draw: Callable[[Random], Any]
    mentions: tuple[str, ...]


class _Kind(NamedTuple):
    """Names to choose from, description (``{}`` is the name), JSON type, values, mentions (``{name}`` is the name)."""

    names: str
    about: str
    type: str
    draw: Callable[[Random], Any]
    mentions: tuple[str, ...]


def _plain_number(rng: Random) -> float:
    return round(rng.uniform(0.1, 400), rng.randint(1, 2))


def _truth(rng: Random) -> bool:
    return rng.random() < 0.5


_IS = "the {name} is {}"
_WITH = "with {name} {}"
_KINDS = (
    _Kind(
        "name customer user guest owner contact attendee",
        "Name of the {}",
        "string",
        words.person,
        ("for {}", "under the name {}", "on behalf of {}", _IS),
    ),
    _Kind(
        "city location destination origin place region",
        "The {}",
        "string",
        words.place,
        ("in {}", "near {}", _WITH, _IS),
    ),
    _Kind(
        "date day start_date end_date due_date deadline",
        "The {} in YYYY-MM-DD",
        "string",
        words.date,
        ("on {}", "for {}", _WITH, _IS),
    ),
    _Kind(
        "time start_time hour slot",
        "The {} as HH:MM",
        "string",
        words.clock,
        ("at {}", _WITH, "the {name} should be {}"),
    ),
    _Kind(
        "id order_id reference code ticket_id account_id serial",
        "The {} to use",
        "string",
        words.code,
        (_WITH, "{name} {}", "number {}", _IS),
    ),
    _Kind(
        "email recipient address to sender",
        "Email address of the {}",
        "string",
        words.email,
        ("and use {}", _WITH, "my address is {}", _IS),
    ),
    _Kind(
        "quantity count number guests days nights limit seats",
        "How many",
        "integer",
        words.whole(1, 90),
        (_WITH, "{name} {}", _IS),
    ),
    _Kind(
        "amount price budget total balance limit",
        "The {} in dollars",
        "integer",
        words.whole(20, 9000),
        (_WITH, "for ${}", _IS, "the {name} is ${}"),
    ),
    _Kind(
        "rate weight distance temperature length width ratio",
        "The {}",
        "number",
        _plain_number,
        (_WITH, "a {name} of {}", _IS),
    ),
    _Kind(
        "title subject message topic query label content",
        "The {} as text",
        "string",
        words.title,
        ('with {name} "{}"', "called '{}'", 'saying "{}"', 'the {name} is "{}"'),
    ),
    _Kind(
        "urgent recurring private verbose notify",
        "Whether it is {}",
        "boolean",
        _truth,
        ("with {name} set to {}", "and set {name} to {}"),
    ),
    _Kind(
        "attendees members guests names users",
        "List of {}",
        "array",
        words.people,
        ("with {}", "for {}", "the {name} are {}"),
    ),
)


def make_slot(rng: Random, taken: set[str]) -> Slot:
    """A parameter whose name is not in ``taken`` (with near certainty); every third name has a second part."""
    kind = rng.choice([*_KINDS, None, None])
    schema: dict[str, Any]
    if kind is None:
        kind, choices = _choice(rng)
        schema = {"type": "string", "enum": choices}
    else:
        schema = {"type": "array", "items": {"type": "string"}} if kind.type == "array" else {"type": kind.type}
    name = rng.choice(kind.names.split())
    if rng.random() < 0.35 or name in taken:
        name = f"{rng.choice([words.syllables(rng), *rng.sample(words.THINGS, 2)])}_{name}"
    spaced = name.replace("_", " ")
    schema["description"] = kind.about.format(spaced) + rng.choice(["", ".", ""])
    return Slot(name, schema, kind.draw, tuple(m.replace("{name}", spaced) for m in kind.mentions))


def _choice(rng: Random) -> tuple[_Kind, list[str]]:
    """An enumeration: its values are drawn anew for every tool."""
    known = rng.random() < 0.8
    choices = rng.sample(words.STATES, rng.randint(2, 5)) if known else [words.syllables(rng) for _ in range(3)]

    def draw(rng: Random) -> str:
        return rng.choice(choices)

    names = "status priority mode format unit category level kind"
    return _Kind(names, "One of the {}s", "string", draw, (_WITH, "as {}")), choices


def spoken(value: Any) -> str:
    """A value as a request writes it, so that a call can copy it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return " and ".join([", ".join(value[:-1]), value[-1]]) if len(value) > 1 else value[0]
    return str(value)
