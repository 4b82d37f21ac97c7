"""Texts about different things are of different kinds, those about the same are of one, and there are never more than allowed."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from paceline.lookup.kinds import LAST, Kinds


def prompt(rng: random.Random, topic: int, shared: int = 20) -> list[int]:
    """Half of its tokens are of its topic, half of those that all texts have."""
    own, common = [100 * (topic + 1) + rng.randrange(60) for _ in range(80)], [rng.randrange(shared) for _ in range(80)]
    tokens = own + common
    rng.shuffle(tokens)
    return tokens


def test_topics_are_told_apart_whatever_all_texts_share() -> None:
    rng, kinds = random.Random(0), Kinds()
    topics = [rng.randrange(4) for _ in range(120)]
    found = [kinds.of(prompt(rng, topic)) for topic in topics]
    late = list(zip(topics, found, strict=True))[20:]
    assert len({(topic, kind) for topic, kind in late}) == 4 == len({kind for _, kind in late})


def test_what_is_no_longer_at_the_end_does_not_count() -> None:
    rng, kinds = random.Random(1), Kinds()
    for topic in (0, 1) * 8:
        kinds.of(prompt(rng, topic))
    one, other = kinds.of(prompt(rng, 0)), kinds.of(prompt(rng, 1))
    end = [token for _ in range(4) for token in prompt(rng, 1)][:LAST]
    assert one != other == kinds.of(prompt(rng, 0) + end)


@given(st.lists(st.lists(st.integers(0, 5000), max_size=40), min_size=1, max_size=30), st.integers(1, 4))
def test_there_are_no_more_than_allowed_and_they_are_counted_from_nought(prompts: list[list[int]], most: int) -> None:
    kinds = Kinds(most)
    found = [kinds.of(each) for each in prompts]
    assert found[0] == 0 and max(found) < most and sum(kinds.sizes) == len(prompts)
    assert all(kind <= max(found[:i], default=-1) + 1 for i, kind in enumerate(found))
