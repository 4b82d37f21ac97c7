"""Tinting: which characters came from drafted tokens, with text that lags behind its tokens."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from paceline.cli._live import Tint

DRAFTED, PLAIN = True, False


def decode(tokens: list[int]) -> str:
    return bytes(tokens).decode("utf-8", errors="replace")


def test_runs_follow_the_marks() -> None:
    tint = Tint(decode)
    assert tint.runs("abc", [97, 98, 99], [DRAFTED, DRAFTED, PLAIN]) == [("ab", DRAFTED), ("c", PLAIN)]
    assert tint.runs("d", [100], [DRAFTED]) == [("d", DRAFTED)]


def test_text_that_was_held_back_keeps_its_marks() -> None:
    tint = Tint(decode)
    assert tint.runs("a", [97, 98, 99], [PLAIN, DRAFTED, PLAIN]) == [("a", PLAIN)]
    assert tint.runs("bcd", [100], [DRAFTED]) == [("b", DRAFTED), ("c", PLAIN), ("d", DRAFTED)]


def test_a_character_of_several_tokens_arrives_once() -> None:
    tint, euro = Tint(decode), list("€".encode())
    assert tint.runs("", euro[:2], [DRAFTED, DRAFTED]) == []
    assert "".join(run for run, _ in tint.runs("€", euro[2:], [PLAIN])) == "€"


@given(st.lists(st.tuples(st.integers(97, 122), st.booleans()), max_size=40), st.integers(1, 5), st.integers(0, 4))
def test_every_ascii_character_gets_its_own_mark(marked: list[tuple[int, bool]], step: int, lag: int) -> None:
    tint, text, out = Tint(decode), bytes(t for t, _ in marked).decode(), []
    emitted = 0
    for start in range(0, len(marked), step):
        tokens, marks = [list(x) for x in zip(*marked[start : start + step], strict=True)]
        ready = max(emitted, min(len(text), start + step) - lag)
        out += tint.runs(text[emitted:ready], tokens, marks)
        emitted = ready
    out += tint.runs(text[emitted:], [], [])
    assert [mark for run, mark in out for _ in run] == [mark for _, mark in marked]
    assert "".join(run for run, _ in out) == text
