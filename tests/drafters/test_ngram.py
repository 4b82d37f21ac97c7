"""Prompt lookup: the longest recent match, branches from other places, and an index that grows with the text."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paceline.core.proposal import Proposal
from paceline.core.stats import Stats
from paceline.drafters.ngram import Ngram


def row(tokens: list[int], id: int = 0) -> SimpleNamespace:
    return SimpleNamespace(tokens=list(tokens), id=id, stats=Stats(), last=None)


def propose(tokens: list[int], budget: int = 16, **options) -> Proposal:
    return Ngram(**{"worth": 0.0, **options}).attach(None).propose([row(tokens)], [budget])[0]


def test_what_followed_last_time_is_proposed() -> None:
    assert list(propose([1, 2, 3, 4, 9, 1, 2], length=3).tokens) == [3, 4, 9]
    assert len(propose([1, 2, 3, 4])) == len(propose([1])) == 0


def test_the_longest_match_comes_before_the_latest() -> None:
    text = [1, 2, 3, 7, 7, 2, 3, 8, 8, 1, 2, 3]
    assert list(propose(text, length=2, max_n=3).tokens) == [7, 7]
    assert list(propose(text, length=2, max_n=2).tokens)[:2] == [8, 8]


def test_a_match_that_runs_into_the_end_copies_itself() -> None:
    assert list(propose([5, 6, 5, 6, 5, 6], length=5).tokens)[:5] == [5, 6, 5, 6, 5]


def test_other_places_become_branches_as_the_budget_allows() -> None:
    text = [1, 2, 8, 9, 1, 2, 8, 7, 1, 2, 3, 4, 1, 2]
    tree = propose(text, length=2)
    assert list(zip(tree.tokens, tree.parents, strict=True)) == [(3, -1), (4, 0), (8, -1), (7, 2), (9, 2)]
    assert tree.all_chosen and set(tree.source) == {"ngram"}
    assert list(propose(text, budget=3, length=2).tokens) == [3, 4, 8]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=30), st.integers(1, 8), st.integers(1, 2))
def test_an_index_grown_token_by_token_equals_one_made_at_once(text: list[int], budget: int, min_n: int) -> None:
    drafter = Ngram(min_n=min_n, worth=0.0).attach(None)
    growing = row(text[:1])
    for token in text[1:]:
        drafter.propose([growing], [budget])
        growing.tokens.append(token)
    grown = drafter.propose([growing], [budget])[0]
    grown.check(4)
    assert grown == propose(text, budget, min_n=min_n) and len(grown) <= budget


@given(st.lists(st.integers(0, 2), min_size=3, max_size=25))
def test_the_main_chain_is_a_scan_s_answer(text: list[int]) -> None:
    """Against the obvious search: for the longest n, the last place before the end where the tail stood."""
    wanted: list[int] = []
    for n in range(min(4, len(text)), 1, -1):
        places = [i for i in range(n, len(text)) if text[i - n : i] == text[-n:]]
        if places:
            wanted = [(text[places[-1] :] * 9)[i] for i in range(5)]
            break
    assert list(propose(text, length=5).main_chain().tokens) == wanted


def test_rows_have_their_own_text_and_are_forgotten() -> None:
    drafter = Ngram(worth=0.0, length=2).attach(None)
    a, b = row([1, 2, 3, 1, 2], 0), row([1, 2, 4, 1, 2], 1)
    assert [p.tokens[0] for p in drafter.propose([a, b], [4, 4])] == [3, 4]
    drafter.forget(a)
    drafter.forget(a)
    assert len(drafter._rows) == 1
    reused = row([1, 2, 9, 1, 2], 0)
    assert drafter.propose([reused], [4])[0].tokens[0] == 9


@pytest.mark.parametrize("good", [True, False])
def test_draft_length_follows_what_was_accepted(good: bool) -> None:
    drafter = Ngram(max_n=2, min_n=2, worth=0.12).attach(None)
    one, other = row([1, 2] * 8), 10
    first = len(drafter.propose([one], [16])[0])
    for _ in range(30):
        proposal = drafter.propose([one], [16])[0]
        one.tokens += [*proposal.tokens] if good else [other := other + 1, 1, 2]
        later = len(drafter.propose([one], [16])[0])
    assert later > first if good else later <= 1 < first
