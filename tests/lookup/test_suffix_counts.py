"""Counts of past texts against counting, and what is dropped."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from paceline.lookup.suffix_counts import DEPTH, Counts, Generations

TEXTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=40), min_size=1, max_size=4)


@given(TEXTS, st.lists(st.integers(0, 3), min_size=1, max_size=DEPTH))
def test_every_part_is_counted(texts: list[list[int]], other: list[int]) -> None:
    counts, wanted = Counts(), Counter[tuple[int, ...]]()
    for text in texts:
        counts.add(text)
        for start in range(len(text)):
            wanted.update(tuple(text[start:stop]) for stop in range(start + 1, min(len(text), start + DEPTH) + 1))
    for part, number in wanted.items():
        place = counts.find(part)
        assert place is not None and counts.count[place[0]] == number
        if len(part) < DEPTH:
            assert {t: n for t, n, _ in counts.after(place)} == {t: wanted[*part, t] for t in range(3) if (*part, t) in wanted}
    assert (counts.find(other) is None) == (tuple(other) not in wanted)
    assert len(counts.count) <= 2 * len(counts) + 1


def test_matches_are_the_longest_endings_that_went_on() -> None:
    past = Generations(100)
    past.add([1, 2, 3, 4])
    past.add([9, 3, 5])
    [(length, counts, place)] = past.matches([1, 2, 3])
    assert length == 3 and [token for token, _, _ in counts.after(place)] == [4]
    [(length, counts, place)] = past.matches([7, 3])
    assert length == 1 and {token for token, _, _ in counts.after(place)} == {4, 5}
    assert list(past.matches([4])) == [] and list(past.matches([8])) == []


def test_an_old_generation_goes() -> None:
    past = Generations(10)
    for start in (0, 10, 20):
        past.add(range(start, start + 10))
    assert [len(past.old), len(past.new)] == [10, 10]
    assert not list(past.matches([3])) and list(past.matches([13])) and list(past.matches([23]))
    past.add(range(30, 60))  # of one longer than a generation its end is kept
    assert len(past.new) == 10 and list(past.matches([55]))


def test_memory_is_bounded() -> None:
    """At most two nodes a token, a child's entry for each, whatever the text."""
    counts = Counts()
    counts.add([(i * i) % 251 for i in range(20_000)])
    assert counts.bytes <= 200 * len(counts)
