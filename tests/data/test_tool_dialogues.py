"""Made-up dialogues: every call names an offered tool, fits its schema, and copies its values from the request."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest

from paceline.data.read import native_tools
from paceline.data.tool_dialogues import Dialogue, dialogue, listed
from paceline.data.tool_slots import spoken

TYPES = {"string": str, "integer": int, "number": float, "boolean": bool, "array": list}


def made(count: int = 400, seed: int = 0) -> list[Dialogue]:
    rng = Random(seed)
    return [dialogue(rng) for _ in range(count)]


def calls_of(d: Dialogue) -> list[dict[str, Any]]:
    return [call for message in d.messages for call in message.get("tool_calls", [])]


def request_of(d: Dialogue) -> str:
    return next(m["content"] for m in d.messages if m["role"] == "user")


def test_calls_fit_an_offered_schema() -> None:
    for d in made():
        offered = {tool["name"]: tool["parameters"] for tool in d.tools}
        assert calls_of(d)
        for call in calls_of(d):
            parameters = offered[call["name"]]
            assert set(parameters["required"]) <= set(call["arguments"]) <= set(parameters["properties"])
            for name, value in call["arguments"].items():
                schema = parameters["properties"][name]
                assert type(value) is TYPES[schema["type"]]
                assert "enum" not in schema or value in schema["enum"]


def test_every_value_stands_in_the_request() -> None:
    for d in made():
        for call in calls_of(d):
            for value in call["arguments"].values():
                for part in value if isinstance(value, list) else [value]:
                    assert spoken(part).lower() in request_of(d).lower()


def test_turns_come_in_order_and_serialise() -> None:
    for d in made():
        roles = [m["role"] for m in d.messages if m["role"] != "system"]
        assert roles in (["user", "assistant"], ["user", "assistant", "tool", "assistant"])
        assert json.loads(json.dumps(d.messages)) == d.messages


def test_the_closing_sentence_repeats_the_result() -> None:
    closed = [d for d in made() if d.messages[-2]["role"] == "tool"]
    assert closed
    for d in closed:
        reference = list(d.messages[-2]["content"].values())[1]
        assert reference in d.messages[-1]["content"]


def test_the_seed_decides_and_dialogues_vary() -> None:
    assert made(20) == made(20) != made(20, seed=1)
    dialogues = made()
    names = [tool["name"] for d in dialogues for tool in d.tools]
    assert len(set(names)) > 0.95 * len(names)
    assert {len(d.tools) for d in dialogues} == {1, 2, 3, 4, 5, 6}
    assert any(len(calls_of(d)) > 1 for d in dialogues)


@pytest.mark.parametrize("seed", range(30))
def test_listed_tools_read_back_and_the_answer_parses(seed: int) -> None:
    system, user, answer = listed(Random(seed), ("Tools:\n", "\n\n**Only generate**"))
    offered = {tool["name"]: tool["parameters"]["properties"] for tool in native_tools(system["content"])}
    first, *lines, last, fence = answer["content"].split("\n")
    assert (first, last, fence) == ("```<tool_call>", "</tool_call>", "```")
    (call,) = map(json.loads, lines)
    assert set(call["parameters"]) <= set(offered[call["name"]])
    assert user["content"].startswith("**Dialogue Records History**\n<user>")
