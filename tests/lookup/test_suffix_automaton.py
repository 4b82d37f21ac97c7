"""The suffix automaton against the obvious search, token by token."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from paceline.lookup.suffix_automaton import SuffixAutomaton


def scanned(text: list[int]) -> dict[int, int]:
    """Length of every ending that stood before -> place behind its last earlier occurrence."""
    found = {}
    for n in range(1, len(text)):
        places = [i for i in range(n, len(text)) if text[i - n : i] == text[-n:]]
        if places:
            found[n] = places[-1]
    return found


@given(st.lists(st.integers(0, 2), max_size=40))
def test_matches_are_a_scan_s(text: list[int]) -> None:
    growing = SuffixAutomaton()
    for end in range(1, len(text) + 1):
        growing.extend(text[end - 1])
        wanted, found = scanned(text[:end]), list(growing.matches())
        assert all(wanted[n] == place for n, place in found)
        assert {place for _, place in found} == set(wanted.values())
        if wanted:
            assert found[0][0] == max(wanted)
    assert list(SuffixAutomaton(text).matches()) == list(growing.matches())


def test_it_stays_linear() -> None:
    automaton = SuffixAutomaton([i % 7 * (i % 3) for i in range(3000)])
    assert len(automaton.following) <= 2 * 3000
    assert sum(map(len, automaton.following)) <= 3 * 3000
