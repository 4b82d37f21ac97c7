"""Messages through a chat template: what it gives, and one sentence for what it does not take."""

from __future__ import annotations

from typing import Any

import pytest

from paceline.errors import DataError, RequestError
from paceline.testing import toy_tokenizer
from paceline.toolcalls.conversation import conversation, note, tools_of
from paceline.toolcalls.formats import Call, formats, shown
from paceline.toolcalls.prompt import tools_in
from paceline.toolcalls.schema import read_tools

PRINTS = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
JOINS = "{{ messages[0].role + messages[0].content }}"
REFUSES = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
ASKED = [{"role": "user", "content": "a"}]
TOOLS = [{"name": "find", "description": "Finds <b> & 'it'.", "parameters": {"type": "object", "properties": {
    "q": {"type": "string"}}}}]  # fmt: skip
PARTS = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]


def words(template: str | None) -> Any:
    tokenizer = toy_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


def test_a_conversation_ends_where_the_reply_begins_or_with_the_last_message() -> None:
    told = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]
    assert conversation(words(PRINTS), told) == "user: hi\nassistant: ho\nassistant: "
    assert conversation(words(PRINTS), tuple(told), reply=False) == "user: hi\nassistant: ho\n"


def test_content_in_parts_is_joined() -> None:
    for template in (PRINTS, JOINS):
        assert conversation(words(template), [{"role": "user", "content": PARTS}]) == conversation(
            words(template), [{"role": "user", "content": "ab"}])


def test_tools_that_a_template_leaves_out_are_told_in_words_or_refused(caplog: pytest.LogCaptureFixture) -> None:
    note.cache_clear()
    assert "'name': 'find'" in conversation(words("{{ tools }}" + PRINTS), ASKED, TOOLS, describe=False) and not caplog.messages
    for system, begins in (([], "system: You can call"), ([{"role": "system", "content": "s"}], "system: s\n\nYou can call")):
        told = conversation(words(PRINTS), [*system, *ASKED], TOOLS)
        assert told.startswith(begins) and told.endswith("user: a\nassistant: ")
        assert tools_in(told) == read_tools(TOOLS) and shown(told) == "tagged"
    assert len(caplog.messages) == 1 and "knows no tools" in caplog.text
    with pytest.raises(RequestError, match="knows no tools, so the answer would never have seen them"):
        conversation(words(PRINTS), ASKED, TOOLS, describe=False)


@pytest.mark.parametrize("takes_no_system", [
    REFUSES, "{% set messages = messages | rejectattr('role', 'eq', 'system') | list %}"])
def test_where_a_template_takes_no_system_message_the_user_tells_of_tools(takes_no_system: str) -> None:
    told = conversation(words(takes_no_system + PRINTS), ASKED, TOOLS)
    assert told.startswith("user: You can call") and told.endswith("\n\na\nassistant: ")


def test_tools_in_a_template_that_shows_nothing_are_refused() -> None:
    with pytest.raises(RequestError, match="shows no message that could tell of them"):
        conversation(words("x"), ASKED, TOOLS)
    with pytest.raises(RequestError, match=r"\(roles: user\): never"):
        conversation(words("{{ raise_exception('never') }}"), ASKED, TOOLS)


def test_calls_and_results_that_a_template_leaves_out_are_told_in_words() -> None:
    calls = [{"id": "1", "function": {"name": "find", "arguments": arguments}} for arguments in ({"q": "é"}, '{"q": "x"}')]
    said = [*ASKED, {"role": "assistant", "tool_calls": calls}, {"role": "tool", "content": "42"}]
    for template in (PRINTS, PRINTS.replace("m.content", "m['content'] + ''")):  # the second cannot take a message of no content
        told = conversation(words(template), said, describe=True)
        answer = told.removeprefix("user: a\nassistant: ").partition("user: ")[0]
        assert formats()["tagged"].parse(answer) == [Call("find", {"q": "é"}), Call("find", {"q": "x"})]
        assert told.endswith("user: <tool_response>\n42\n</tool_response>\nassistant: ")
    knows = conversation(words(PRINTS + "{{ messages[1].tool_calls[0].function.name }}"), said)
    assert knows.endswith("find") and "<tool" not in knows
    with pytest.raises(RequestError, match="knows no tool calls"):
        conversation(words(PRINTS), said, describe=False)
    with pytest.raises(RequestError, match=r"messages\[1\].tool_calls\[0\] must be a call like .*found 3"):
        conversation(words(PRINTS), [*ASKED, {"role": "assistant", "tool_calls": [3]}])


@pytest.mark.parametrize(("messages", "template", "said"), [
    ([], PRINTS, "Expected messages"), ("hi", PRINTS, "Expected messages"), (None, PRINTS, "Expected messages"),
    ([{"content": "a"}], PRINTS, r"messages\[0\] must be a message"),
    ([{"role": "user", "content": "a"}, 3], PRINTS, r"messages\[1\] must be a message"),
    ([{"role": "user", "content": 3}], PRINTS, r"messages\[0\].content must be text.*found 3"),
    ([{"role": "user"}], JOINS, "content must be text.*found None"),
    ([{"role": "system", "content": "a"}], REFUSES, r"refuses these messages \(roles: system\): no system role\."),
    ([{"role": "user", "content": "\ud83d"}], PRINTS, "half of a surrogate pair"),
    ([{"role": "user", "content": "a"}], None, "no chat template: give plain text"),
])
def test_what_is_no_conversation_is_one_sentence(messages: Any, template: str | None, said: str) -> None:
    with pytest.raises(RequestError, match=said) as error:
        conversation(words(template), messages)
    assert "\n" not in str(error.value)


def test_tools_of_a_record() -> None:
    assert tools_of({}, "x") == tools_of({"tools": None}, "x") == tools_of({"tools": []}, "x") == []
    assert tools_of({"tools": [{"name": "f"}]}, "x") == [{"name": "f"}]
    for tools in ({"name": "f"}, ["f"], "f", 3):
        with pytest.raises(DataError, match="x, line 3: expected 'tools' to be a list of JSON objects; found"):
            tools_of({"tools": tools}, "x, line 3")
