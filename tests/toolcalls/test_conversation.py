"""Messages through a chat template: what it gives, and one sentence for what it does not take."""

from __future__ import annotations

from typing import Any

import pytest

from paceline.errors import DataError, RequestError
from paceline.testing import toy_tokenizer
from paceline.toolcalls.conversation import conversation, tools_of

PRINTS = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
JOINS = "{{ messages[0].role + messages[0].content }}"
REFUSES = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}"
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


def test_tools_that_a_template_leaves_out_are_refused() -> None:
    told, tools = [{"role": "user", "content": "a"}], [{"name": "f", "parameters": {}}]
    assert "'f'" in conversation(words("{{ tools }}" + PRINTS), told, tools)
    with pytest.raises(RequestError, match="knows no tools"):
        conversation(words(PRINTS), told, tools)


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
