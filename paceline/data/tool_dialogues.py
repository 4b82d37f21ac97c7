"""Dialogues with tool calls over made-up tools.

Names, parameters and values are drawn anew for every dialogue, so the only way to predict a call is to copy: the name
from the list of tools, the values from the request. So calls to tools never seen in training come out well-formed.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

from paceline.data import words
from paceline.data.read import native_calls
from paceline.data.tool_slots import Slot, make_slot, spoken

__all__ = ["Dialogue", "Tool", "ask", "dialogue", "listed", "make_tool"]

Message = dict[str, Any]


@dataclass(frozen=True)
class Tool:
    """A made-up tool: ``schema`` as callers offer it, how a request begins, and the thing it is about."""

    schema: dict[str, Any]
    slots: tuple[Slot, ...]
    request: str
    thing: str


@dataclass(frozen=True)
class Dialogue:
    """``messages`` for the chat template (the assistant turn with ``tool_calls`` included) and the offered
    ``tools``."""

    messages: list[Message]
    tools: list[dict[str, Any]]


def make_tool(rng: Random) -> Tool:
    """A tool with one to four parameters, named in one of the usual styles."""
    verb = rng.choice(words.VERBS) if rng.random() < 0.85 else words.syllables(rng)
    thing = rng.choice(words.THINGS) if rng.random() < 0.75 else words.syllables(rng)
    parts = [verb, *([rng.choice(words.ADJECTIVES)] if rng.random() < 0.2 else []), thing]
    names = _names(rng, parts)
    slots: dict[str, Slot] = {}
    for _ in range(rng.choice([1, 2, 2, 3, 3, 4])):
        slot = make_slot(rng, set(slots))
        slots[slot.name] = slot
    required = [name for name in slots if rng.random() < 0.8] or list(slots)[:1]
    properties = {name: slot.schema for name, slot in slots.items()}
    article = "an" if parts[1][0] in "aeiou" else "a"
    request = " ".join([verb, rng.choice([article, article, "the", "my"]), *parts[1:]])
    start = verb.capitalize()
    about = [f"{start} {article} {thing}.", f"{start} the {thing} of a user.", f"{verb} {thing}"]
    description, name = rng.choice(about), rng.choice(names)
    parameters = {"type": "object", "properties": properties, "required": required}
    schema = {"name": name, "description": description, "parameters": parameters}
    return Tool(schema, tuple(slots.values()), request, thing)


def _names(rng: Random, parts: list[str]) -> list[str]:
    """``book_room``, ``bookRoom``, ``BookRoom``, ``room.book`` and ``velmo_book_room``."""
    capitals = [part.capitalize() for part in parts]
    return [
        "_".join(parts),
        parts[0] + "".join(capitals[1:]),
        "".join(capitals),
        f"{parts[-1]}.{'_'.join(parts[:-1])}",
        f"{words.syllables(rng)}_{'_'.join(parts)}",
    ]


def ask(rng: Random, tool: Tool) -> tuple[str, dict[str, Any]]:
    """A request for ``tool`` and the call that answers it; every argument's value stands in the request."""
    required = set(tool.schema["parameters"]["required"])
    arguments, mentioned = {}, []
    for slot in tool.slots:
        if slot.name in required or rng.random() < 0.5:
            value = slot.draw(rng)
            arguments[slot.name] = value
            mentioned.append(rng.choice(slot.mentions).format(spoken(value)))
    return tool.request + _joined(rng, mentioned), {"name": tool.schema["name"], "arguments": arguments}


def _joined(rng: Random, mentioned: list[str]) -> str:
    """In a random order: phrases follow the request, clauses ("the id is 7") come as sentences of their own."""
    rng.shuffle(mentioned)
    clauses = [m for m in mentioned if m.startswith(("the ", "my "))]
    phrases = [m for m in mentioned if m not in clauses]
    return "".join(f" {p}" for p in phrases) + "".join(f". {c[0].upper()}{c[1:]}" for c in clauses)


_OPENINGS = (
    *("Please ", "Can you ", "I want to ", "Could you please ", "", "", "Hi! Please ", "I need to "),
    "Hello, can you ",
)


def _opened(rng: Random, requests: list[str]) -> str:
    """Requests as one user turn, politely or not."""
    opening = rng.choice(_OPENINGS)
    links = [". Also, ", ". After that, ", *([" and then "] if ". " not in requests[0] else [])]
    text = opening + rng.choice(links).join(requests)
    end = "?" if ("an you" in opening or "ould you" in opening) and ". " not in text else "."
    return text[0].upper() + text[1:] + end


def dialogue(rng: Random) -> Dialogue:
    """One dialogue: one to six tools, a request, one or two calls, and often the result and a closing sentence."""
    tools = [make_tool(rng) for _ in range(rng.choice([1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 6]))]
    wanted = rng.sample(tools, 2) if len(tools) > 1 and rng.random() < 0.12 else [rng.choice(tools)]
    if len(wanted) == 1 and rng.random() < 0.08:
        wanted *= 2
    asked = [ask(rng, tool) for tool in wanted]
    calls = [call for _, call in asked]
    messages: list[Message] = [
        {"role": "user", "content": _opened(rng, [request for request, _ in asked])},
        {"role": "assistant", "content": "", "tool_calls": calls},
    ]
    if rng.random() < 0.4:
        messages += _closing(rng, wanted[0], calls[0])
    if rng.random() < 0.2:
        system = rng.choice(["You are a helpful assistant.", "You help with everyday tasks."])
        messages.insert(0, {"role": "system", "content": system})
    return Dialogue(messages, [tool.schema for tool in tools])


def _closing(rng: Random, tool: Tool, call: dict[str, Any]) -> list[Message]:
    """A result with a fresh reference, and a sentence that repeats it: one more thing to copy."""
    key, reference = rng.choice(["id", "reference", "confirmation", "result"]), words.code(rng)
    result = {"status": rng.choice(["ok", "success", "done"]), key: reference}
    value = spoken(rng.choice(list(call["arguments"].values())))
    sentence = rng.choice(
        [
            f"Done. The {tool.thing} is taken care of; the {key} is {reference}.",
            f"I called {call['name']} with {value}. The {key} is {reference}.",
            f"All set: {key} {reference}.",
        ]
    )
    return [{"role": "tool", "content": result}, {"role": "assistant", "content": sentence}]


def listed(rng: Random, frame: tuple[str, str]) -> list[Message]:
    """A dialogue whose system prompt lists its tools in API-Bank's way, between the two halves of ``frame``.

    The request comes as a dialogue history, the answer as ``{"name": …, "parameters": …}`` in a fenced block.
    """
    tools = [make_tool(rng) for _ in range(rng.randint(1, 3))]
    request, call = ask(rng, rng.choice(tools))
    history = f"**Dialogue Records History**\n<user>{_opened(rng, [request])}</user>\n"
    if rng.random() < 0.7:
        reply = rng.choice(["Sure, one moment.", "Okay, I will do that now.", "Sure.", "Of course."])
        last = "Based on our conversation above, please only make one tool call to solve my need."
        history += f"<response>{reply}</response>\n\n<user> {last}</user>\n"
    lines = [_line(number, tool) for number, tool in enumerate(tools, 1)]
    return [
        {"role": "system", "content": frame[0] + "\n".join(lines) + frame[1]},
        {"role": "user", "content": history.strip()},
        {"role": "assistant", "content": native_calls([{"name": call["name"], "parameters": call["arguments"]}])},
    ]


def _line(number: int, tool: Tool) -> str:
    """A tool as API-Bank's prompts list it."""
    names = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "array": "list(str)"}
    fields = {s.name: {"type": names[s.schema["type"]], "description": s.schema["description"]} for s in tool.slots}
    name, about = tool.schema["name"], tool.schema["description"]
    return f"{number}. Name: {name}\nDescription: {about}\nParameters: {fields}"
