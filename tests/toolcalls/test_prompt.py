"""Tools out of the prompts that list them."""

from __future__ import annotations

import json

import pytest
from transformers import AutoTokenizer

import paceline
from paceline.errors import DataError
from paceline.toolcalls.prompt import native_tools, tools_given, tools_in
from paceline.toolcalls.schema import Parameter, Tool, read_tools

KEY = {"type": "object", "properties": {"key": {"type": "string"}}}
FUNCTIONS = [
    {"name": "get", "description": "Read </b>\u2028'it'.", "parameters": KEY},
    {"name": "get_all", "parameters": {"type": "object", "properties": {}}},
]
TOOLS = (Tool("get", (Parameter("key", "string"),)), Tool("get_all"))
LISTED = """You can use the following tools:
1. Name: AddAlarm
Description: Adds an alarm.
For a given time.
Parameters: {'token': {'type': 'str', 'description': "User's token."}, 'loud': {'type': 'bool'}, 'days': {'type': 'list(str)'}}
2. Name: Add
Description: Adds.
Parameters: {'a': {'type': 'colour'}, 'b': 'int'}
10. Name: Now
Description: The time.
Parameters: {}

**Only generate Tool Calls**
1. Name the tool."""


def test_tools_as_the_chat_template_writes_them() -> None:
    words = AutoTokenizer.from_pretrained(f"{paceline.__path__[0]}/zoo/tiny")
    messages = [{"role": "system", "content": "Help."}, {"role": "user", "content": "Read [1]."}]
    wrapped = [{"type": "function", "function": function} for function in FUNCTIONS]
    for given in (FUNCTIONS, wrapped):
        prompt = words.apply_chat_template(messages, tools=given, tokenize=False, add_generation_prompt=True)
        assert tools_in(prompt) == TOOLS
    assert tools_in(words.apply_chat_template(messages, tokenize=False)) == ()


def test_a_mention_of_the_tags_is_no_block() -> None:
    lines = "\n".join(map(json.dumps, FUNCTIONS))
    call = '{"name": "x", "parameters": {}}'
    assert tools_in(f"Signatures are within <tools></tools> tags:\n<tools>\n{lines}\n</tools>\n{call}") == TOOLS
    assert tools_in(f"<tools>{json.dumps(FUNCTIONS, indent=2)}</tools>") == TOOLS


def test_numbered_lines() -> None:
    alarm, add, now = tools_in(LISTED)
    types = {parameter.name: parameter.type for parameter in alarm.parameters}
    assert types == {"token": "string", "loud": "boolean", "days": "array"} and all(p.required for p in alarm.parameters)
    assert add == Tool("Add", (Parameter("a", required=True), Parameter("b", "integer", required=True))) and now == Tool("Now")
    assert tools_in(LISTED.split("\n\n")[0]) == (alarm, add, now), "the list may end the prompt"


def test_numbered_lines_as_schemas() -> None:
    alarm, add, now = native_tools(LISTED)
    assert alarm["description"] == "Adds an alarm.\nFor a given time." and now["parameters"]["properties"] == {}
    assert alarm["parameters"]["properties"]["token"] == {"type": "string", "description": "User's token."}
    assert add["parameters"] == {"type": "object", "required": ["a", "b"], "properties": {
        "a": {"type": "string", "description": ""}, "b": {"type": "integer", "description": ""}}}  # fmt: skip


@pytest.mark.parametrize("literal", ["{'a': }", "{1, 2}", "{'a': {'type': 'str'}", "{" * 300 + "}" * 300])
def test_parameters_that_cannot_be_read_are_left_out(literal: str) -> None:
    prompt = f"1. Name: f\nDescription: x\nParameters: {literal}\n\nmore }}"
    assert tools_in(prompt) == (Tool("f"),)
    assert [tool["parameters"]["properties"] for tool in native_tools(prompt)] == [{}]


@pytest.mark.parametrize("indent", [None, 2])
def test_bare_json(indent: int | None) -> None:
    around = 'Reply like {"name": "…", "parameters": {…}} or\n{"answer": [1]}\n[1, 2]\n[broken\n'
    assert tools_in(around + json.dumps(FUNCTIONS, indent=indent) + "\nNow!") == TOOLS
    assert tools_in(around + "\n\n".join(json.dumps(f, indent=indent) for f in FUNCTIONS)) == TOOLS
    mcp = {"tools": [{"name": "get", "inputSchema": KEY}]}
    assert tools_in(around + json.dumps(mcp, indent=indent)) == TOOLS[:1]
    assert tools_in(around) == ()


def test_the_same_tool_twice_is_one_and_two_of_a_name_are_refused() -> None:
    line = json.dumps(FUNCTIONS[0])
    assert tools_in(f"<tools>\n{line}\n</tools>\n<tools>\n{line}\n</tools>") == TOOLS[:1]
    with pytest.raises(DataError, match="one description of the tool 'get'; found two"):
        tools_in(f'<tools>\n{line}\n{{"name": "get"}}\n</tools>')


def test_broken_json_in_a_block_is_told() -> None:
    found = r"^<tools>\[1\]: expected a JSON list, or one JSON object a line; found '{\"name\": oops}'"
    with pytest.raises(DataError, match=found):
        tools_in('<tools>\n{"name": "a"}\n</tools>\n<tools>\n{"name": oops}\n</tools>')


def test_a_list_that_changed_is_read_again() -> None:
    tools = [{"name": "find", "parameters": {"city": {"type": "string"}}}]
    before = tools_given(tools)
    tools[0]["name"] = "look"
    assert tools_given(tools)[0].name == "look" and before == read_tools([{**tools[0], "name": "find"}])
