"""Seconds by nodes, learned from rounds."""

from __future__ import annotations

import pytest

from paceline.controllers._prices import SLOW, Line, Mean


def test_what_was_seen_stands_on_straight_lines_and_the_last_goes_on() -> None:
    line = Line()
    for nodes, seconds in ((0, 1.0), (1, 1.2), (4, 2.0), (6, 2.0), (16, 5.0)):
        line.add(nodes, seconds)
    assert [line.at(nodes) for nodes in (0, 1, 3, 5, 16, 27)] == pytest.approx([1.0, 1.2, 1.6, 2.0, 5.0, 8.0])  # 4 to 7: one mean


def test_what_is_expected_holds_until_it_is_seen() -> None:
    """The first round of about as many nodes counts alone, however much more was expected; what was not seen stays."""
    line = Line()
    for nodes, seconds in ((0, 1.0), (3, 2.0), (15, 8.0)):
        line.expect(nodes, seconds)
    assert line.knows(2) and not line.seen(2) and line.at(9) == pytest.approx(5.0)
    line.add(2, 7.0)
    assert line.seen(3) and line.at(2) == 7.0 and not line.seen(0) and line.at(15) == 8.0


def test_a_slow_round_is_cut_and_a_fast_one_shows_that_all_were_slow() -> None:
    mean = Mean()
    for seconds in (1.0, 1.0, 100.0):
        mean.add(seconds)
    assert mean.seconds == pytest.approx((2 + SLOW) / 3)
    mean.add(0.1)
    assert mean.seconds == pytest.approx(0.1)
