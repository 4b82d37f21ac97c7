"""What may come next in a tool call: for every style and place, also half-written, second calls and broken ones."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.toolcalls.asked import END, Asked
from paceline.toolcalls.calls import Writing
from paceline.toolcalls.formats import shown
from paceline.toolcalls.schema import read_tools

TOOLS = read_tools([
    {"name": "book", "parameters": {"type": "object", "required": ["city", "nights"], "properties": {
        "city": {"type": "string"}, "nights": {"type": "integer"}, "kind": {"type": "string", "enum": ["suite", "single"]},
        "late": {"type": "boolean"}, "guests": {"type": "array", "items": {"type": "string"}},
        "pay": {"type": "object", "properties": {"card": {"type": "string"}}}}}},
    {"name": "book_all", "parameters": {}},
    {"name": "ask", "parameters": {"type": "object", "properties": {"query": {"type": "string"}}}},
])  # fmt: skip
MESSAGE = 'Please book a single room in Rome for 3 nights, card "A 17".'


def after(text: str, prompt: str = "<tool_call>") -> list[str]:
    writing = Writing(Asked(TOOLS, MESSAGE, shown(prompt)))
    writing.feed(text)
    return [piece.text for piece in writing.pieces()]


def in_call(arguments: str, name: str = "book") -> list[str]:
    return after(f'<tool_call>\n{{"name": "{name}", "arguments": {{{arguments}')


@pytest.mark.parametrize(("text", "wanted"), [
    ("", '<tool_call>\n{"name":'),
    ("<tool", '_call>\n{"name":'),
    ("```<tool_call>\n", '{"name":'),
    ("Sure.\n<tool", '_call>\n{"name":'),
    ('<tool_call>\n{"na', 'me"'),
    ('<tool_call>\n{"name":', ' "'),
    ('<tool_call>\n{"name": "', 'book"'),
    ('<tool_call>\n{"name": "book_', 'all"'),
    ('<tool_call>\n{"name": "book"', ', "arguments": {'),
    ('[', "book("),
    ("[book(", "city="),
    ("[book(ci", "ty="),
    ("[book(city=", "'Rome'"),
    ("[book(city='Ro", "me'"),
    ("[book(city='Rome'", ", nights="),
    ("[book(city='Rome', nights=", "3"),
    ("[book(city='Rome', nights=3)", "]"),
    ("[book(city='Rome', nights=3), as", "k("),
])  # fmt: skip
def test_openings_names_and_styles(text: str, wanted: str) -> None:
    assert wanted in after(text)


@pytest.mark.parametrize(("arguments", "wanted"), [
    ("", '"city":'), ('"ci', 'ty":'), ('"city"', ":"), ('"city":', ' "'), ('"city": "', 'Rome"'), ('"city": "Ro', 'me"'),
    ('"city": "Rome"', ', "nights":'), ('"city": "Rome",', ' "nights":'), ('"nights":', " 3"), ('"nights": 3', ', "city":'),
    ('"kind": "', 'single"'), ('"kind": "su', 'ite"'), ('"late": ', "true"), ('"late": t', "rue"), ('"guests": ', "["),
    ('"guests": ["Ann"', "]"), ('"guests": ["Ann"', ", "), ('"pay": ', "{"),
    ('"pay": {', '"card":'), ('"pay": {"card": "', 'A 17"'),
    ('"pay": {"card": "A 17"', "}"), ('"city": "Rome", "nights": 3', "}"),
])  # fmt: skip
def test_arguments(arguments: str, wanted: str) -> None:
    assert wanted in in_call(arguments)


def test_used_keys_do_not_come_again_and_the_likelier_stand_first() -> None:
    behind = in_call('"city": "Rome", "late": true')
    assert behind[0] == ', "nights":' and ', "city":' not in behind and ', "late":' not in behind
    assert in_call('"kind": "')[0] == 'single"'  # the message says so
    assert in_call("", "book_all") == ["}"]


def test_choices_may_be_any_json() -> None:
    tools = read_tools([{"name": "f", "parameters": {"type": "object", "properties": {"a": {"enum": [{"b": 1}, ["c"]]}}}}])
    writing = Writing(Asked(tools, "", "tagged"))
    writing.feed('<tool_call>\n{"name": "f", "arguments": {"a":')
    assert [piece.text for piece in writing.pieces()] == [' {"b": 1}', ' ["c"]']


def test_a_second_call_is_filled_like_the_first_and_an_answer_ends() -> None:
    first = '<tool_call>\n{"name": "ask", "arguments": {"query": "x"}}'
    assert after(first) == ["\n</tool_call>", '\n</tool_call>\n<tool_call>\n{"name":']
    second = first + '\n</tool_call>\n<tool_call>\n{"name": "book", "arguments": {'
    assert '"city":' in after(second)
    assert after(first + "\n</tool_call>")[0] == END


@pytest.mark.parametrize("text", ['{"name": oops', '{"name": "nobody", "arguments": {"a', '{"name": 3, "arguments": [',
                                  '{"name": "book", "arguments": {"city": "Rome", "city": "', "]]}}", '{"a": {"b": "\\u12'])
def test_broken_and_unknown_calls_are_no_failure(text: str) -> None:
    pieces = after("<tool_call>\n" + text)
    assert all(isinstance(piece, str) for piece in pieces)
    assert '"city":' in after("<tool_call>\n" + text[:9] + ']}\n<tool_call>\n{"name": "book", "arguments": {')


@given(st.text(alphabet='{}[]",: abcook\\\n<tool_call>123', max_size=60), st.integers(0, 60))
def test_any_text_cut_anywhere_reads_the_same(text: str, cut: int) -> None:
    whole, parts = (Writing(Asked(TOOLS, MESSAGE, "raw")) for _ in range(2))
    whole.feed(text)
    parts.feed(text[:cut])
    ahead = parts.fork()
    list(ahead.pieces())
    ahead.feed('x"{')
    parts.feed(text[cut:])
    assert list(whole.pieces()) == list(parts.pieces())
