"""The pace of a text, by the clock of whole rounds, begins as that of its kind."""

from __future__ import annotations

import pytest

from paceline.drafters._pace import BEGIN, LONG, Pace, Paced


def test_a_text_begins_at_the_pace_of_its_kind_and_finds_its_own() -> None:
    usual = Pace()
    assert usual.rate == 1.0
    slow, fast = Paced(usual), Paced(usual)
    for text, tokens in ((slow, 2), (fast, 6)):
        assert text.begin(0.0, 0, 0.5) == 0.0  # nothing went before it
        for step in range(1, 200):
            assert text.begin(0.5 * step, tokens * step, 0.5) == 1.0
    assert slow.own.rate == pytest.approx(2.0, rel=0.01) and fast.own.rate == pytest.approx(6.0, rel=0.01)
    assert usual.rate == pytest.approx(6.0, rel=0.01)  # the older the lighter
    third = Paced(usual)
    assert third.own.rate == usual.rate and third.own.steps == BEGIN


def test_time_in_which_something_else_was_done_does_not_count() -> None:
    text = Paced(Pace())
    for step in range(20):
        text.begin(float(step), 3 * step, 1.0)
    before = text.own.rate, text.usual.rate
    assert text.begin(20.0 + LONG, 60, 1.0) == 0.0 and (text.own.rate, text.usual.rate) == before
    assert text.begin(21.0 + LONG, 63, 1.0) == 1.0
