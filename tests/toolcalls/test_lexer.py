"""The lexer against `json.loads`: the same values from any split, errors at the same texts, and what it says in between."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.toolcalls.lexer import DEPTH, Event, JsonLexer

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4))
ROOTS = st.lists(VALUES, max_size=4) | st.dictionaries(st.text(), VALUES, max_size=4)
# Texts near JSON: its own pieces in any order, so that a good part of them is broken late.
PIECES = ["{", "}", "[", "]", ",", ":", '"', '"a"', '"a":', "\\", "\\u", "\\ud83d", "\\ude00", "0", "-", "1", ".5", "e", "E+1",
          "true", "nul", "null", "x", " ", "\n", "\t", "é", "NaN"]  # fmt: skip
NEARLY = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


def read(text: str, cuts: list[int] | None = None, arrays: bool = True) -> tuple[list[Event], JsonLexer]:
    """Events of a text that is fed in pieces."""
    lexer, events = JsonLexer(arrays), list[Event]()
    for start, stop in pairwise(sorted({0, len(text), *(c for c in cuts or () if c <= len(text))})):
        events += lexer.feed(text[start:stop])
    return events, lexer


def built(events: list[Event]) -> Any:
    """The Python value that events describe."""
    root: dict[Any, Any] = {}
    for event in events:
        if event.kind in ("key", "object_end", "array_end"):
            continue
        value = {"object_start": {}, "array_start": []}.get(event.kind, event.value)
        at: Any = root
        for step in ("root", *event.path)[:-1]:
            at = at[step]
        last = ("root", *event.path)[-1]
        if isinstance(at, list):
            assert last == len(at)
            at.append(value)
        else:
            at[last] = value
    return root["root"]


@given(ROOTS, st.booleans(), st.sampled_from([None, 2]), st.lists(st.integers(0, 200)))
def test_any_split_of_any_value_reads_as_json_loads_does(value: Any, ascii: bool, indent: int | None, cuts: list[int]) -> None:
    text = json.dumps(value, ensure_ascii=ascii, indent=indent)
    events, lexer = read(text, cuts)
    assert built(events) == json.loads(text) and (lexer.state, lexer.texts, lexer.depth) == ("outside", 1, 0)
    assert events == read(text)[0] == read(text, list(range(len(text))))[0]


@given(st.sampled_from("{["), NEARLY, st.lists(st.integers(0, 40)))
def test_what_json_loads_refuses_never_completes(opening: str, rest: str, cuts: list[int]) -> None:
    text = opening + rest
    events, lexer = read(text, cuts)
    try:
        value, stop = json.JSONDecoder(parse_constant=lambda name: 1 / 0).raw_decode(text)
    except (ValueError, ZeroDivisionError):
        assert lexer.texts == 0
        return
    first = next(i + 1 for i, e in enumerate(events) if e.kind.endswith("_end") and not e.path)
    assert lexer.texts >= 1 and built(events[:first]) == value and read(text[:stop])[1].texts == 1


@given(NEARLY | st.text("-+.eE01,").map('{"a": ['.__add__), st.lists(st.integers(0, 40)))
def test_splits_change_nothing_and_broken_text_is_a_state(text: str, cuts: list[int]) -> None:
    events, lexer = read(text, cuts, arrays=False)
    whole, same = read(text, arrays=False)
    assert events == whole and lexer == same
    assert (lexer.state == "error") == (lexer.error is not None) and (lexer.state == "error" or lexer.position == len(text))


@given(ROOTS, st.data())
def test_a_prefix_tells_what_is_open(value: Any, data: Any) -> None:
    text = json.dumps(value)
    cut = data.draw(st.integers(0, len(text)))
    events, lexer = read(text[:cut])
    starts, ends = (sum(e.kind.endswith(end) for e in events) for end in ("_start", "_end"))
    assert lexer.error is None and lexer.depth == starts - ends
    fork = lexer.fork()
    assert events + fork.feed(text[cut:]) == read(text)[0]
    assert lexer == read(text[:cut])[1], "running a copy ahead changes nothing here"


def test_where_a_tool_call_stands() -> None:
    lexer = JsonLexer()
    assert lexer.feed('Sure [1].\n<tool_call>\n{"na') == [Event("object_start", ())]
    assert (lexer.inside, lexer.text, lexer.path, lexer.container) == ("key", "na", (), "object")
    assert lexer.feed('me": "AddAlarm", ') == [Event("key", ("name",), "name"), Event("value", ("name",), "AddAlarm")]
    assert (lexer.inside, lexer.state, lexer.keys) == ("between", "key", ("name",))
    lexer.feed('"arguments": {"times": [7, {"h": 1')
    assert (lexer.inside, lexer.raw, lexer.path) == ("number", "1", ("arguments", "times", 1, "h"))
    assert (lexer.container, lexer.depth, lexer.keys) == ("object", 4, ("h",))
    path = ("arguments", "times", 1)
    assert lexer.feed("2}") == [Event("value", (*path, "h"), 12), Event("object_end", path)]
    lexer.feed('], "loud": fal')
    assert (lexer.inside, lexer.raw, lexer.keys) == ("literal", "fal", ("times", "loud"))
    assert [e.kind for e in lexer.feed("se}}\n</tool_call>")] == ["value", "object_end", "object_end"]
    assert (lexer.inside, lexer.texts, lexer.path) == ("outside", 1, ())


def test_states_tell_what_may_come() -> None:
    lexer = JsonLexer()
    for piece, state in [("{", "key or end"), ('"a"', "colon"), (":", "value"), ("[", "value or end"), ("1,", "value"),
                         ("2", "in number"), ("]", "comma or end"), (",", "key"), ('"b', "in key"), ('": "', "in string"),
                         ('"}', "outside")]:  # fmt: skip
        lexer.feed(piece)
        assert lexer.state == state


def test_several_calls_and_a_list_of_them() -> None:
    lexer = JsonLexer()
    events = lexer.feed('[{"name": "a"}, {"name": "b"}]\n{"name": "c"}')
    assert [e.value for e in events if e.kind == "value"] == ["a", "b", "c"] and lexer.texts == 3
    listed = JsonLexer(arrays=True).feed('[{"name": "a"}, {"name": "b"}]')
    assert [e.path for e in listed if e.kind == "value"] == [(0, "name"), (1, "name")]


def test_a_half_of_a_pair_waits_for_the_other() -> None:
    lexer = JsonLexer()
    lexer.feed(r'{"a": "x\ud83d')
    assert (lexer.text, lexer.raw) == ("x", r"x\ud83d")
    smiling = lexer.fork()
    smiling.feed(r"\ude00")
    assert (smiling.text, smiling.raw) == ("x😀", r"x\ud83d\ude00")
    assert lexer.feed(r'y\ude00"')[0].value == "x\ud83dy\ude00"


def test_duplicate_keys_are_told_and_listed_once() -> None:
    lexer = JsonLexer()
    events = lexer.feed('{"a": 1, "b": 2, "a": 3,')
    assert [e.value for e in events if e.kind == "key"] == ["a", "b", "a"] and lexer.keys == ("a", "b")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('{"a" 1', "character 5: expected a colon of the object; found '1'"),
        ("{a", "character 1: expected a key or end of the object; found 'a'"),
        ('{"a": 1 "b"', "character 8: expected comma or end of the object; found '\"'"),
        ('{"a": [1,]', "character 9: expected a value; found ']'"),
        ('{"a": 01', "character 7: expected a number; found '01'"),
        ('{"a": -}', "character 7: expected the rest of a number; found '}'"),
        ('{"a": trux', "character 9: expected true, false or null; found 'trux'"),
        ('{"a": "\n', "character 7: expected no control character in a string; found '\\n'"),
        ('{"a": "\\x', "character 8: expected an escape that JSON knows; found '\\\\x'"),
        ('{"a": ' + "1" * 5000 + ",", "character 5006: expected a number that can be held; found '5000 digits'"),
        ('{"a": ' + "[" * DEPTH, f"character {DEPTH + 5}: expected no more than {DEPTH} levels; found '['"),
    ],
)
def test_errors_say_where_and_reset_goes_on(text: str, error: str) -> None:
    lexer = JsonLexer()
    lexer.feed(text)
    assert (lexer.error, lexer.inside) == (error, "error")
    assert lexer.feed('"b": 1}') == [] and lexer.error == error
    lexer.reset()
    assert (lexer.state, lexer.depth, lexer.raw, lexer.text, lexer.error) == ("outside", 0, "", "", None)
    assert lexer.feed('{"b": 1}')[-1] == Event("object_end", ())
