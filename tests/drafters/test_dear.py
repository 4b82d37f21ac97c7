"""What asking a model adds is held against what the text took, by kind and by text, and decides whether it is asked again."""

from __future__ import annotations

import pytest

from paceline.drafters._dear import FIRST, KEEP, Asked, Dear, Row, Truth
from paceline.lookup.trie import Trie


def tree(*chains: list[int]) -> Trie:
    made = Trie()
    for chain in chains:
        made.add([(token, 0.5) for token in chain], "")
    return made


def asked(at: int = 2, size: int = 1, without: tuple[int, ...] = (0,), beside: tuple[int, ...] = (0, 1, 2),
          tokens: float = 1.5) -> Asked:
    """A chain of three tokens was scored; one of them would have been without asking."""
    chain = tree([5, 6, 7])
    return Asked(at, size, (chain, without), (chain, beside), tokens, 0.1)


def test_a_question_is_worth_what_the_text_took_more() -> None:
    assert asked().added([0, 0, 5, 6, 9], False) == 1
    assert asked().added([0, 0, 5, 6, 7, 9], False) == 2
    assert asked().added([0, 0, 9], False) == 0
    assert asked(without=(0, 1, 2), beside=(0,)).added([0, 0, 5, 6, 9], False) == -1


def test_as_long_as_the_text_may_go_on_through_its_nodes_that_is_not_known() -> None:
    assert asked().added([0, 0, 5, 6], False) is None and asked().added([0, 0], False) is None
    assert asked().added([0, 0, 5, 6], True) == 1
    dear, row = Dear(), Row(0)
    dear.enter(row, 1.0, asked(), 1.0)
    dear.settle(row, [0, 0, 5])
    assert not dear.every[1].times and len(row.open) == 1
    dear.settle(row, [0, 0, 5, 6, 7, 8])
    texts = dear.kinds[0]
    assert dear.every[1].times == texts.sizes[1].times == 1 and texts.truth.added == 2.0 and texts.truth.expected == 1.5
    assert not row.open and row.truth.added == 2.0


def taught(tokens: dict[int, float], took: float = 1.0, times: int = 40) -> Dear:
    """A model that was expected to add so many tokens to texts of each kind, of which they `took` a share; a question takes a
    plain step.
    """
    dear = Dear(steps=1.0, first=1.0)
    for kind, each in tokens.items():
        for _ in range(times):
            dear.every[1].enter(each, 0.0)
            dear.kinds[kind].enter(Asked(0, 1, (Trie(), ()), (Trie(), ()), each, 0.0), took * each)
    return dear


def test_it_is_asked_for_the_kind_of_text_on_which_it_helps() -> None:
    dear = taught({0: 3.0, 1: 0.2})
    assert dear.pays(Row(0), 1, 1.5, 0.0) and not dear.pays(Row(1), 1, 1.5, 0.0)
    assert not dear.pays(Row(0), 1, 4.0, 0.0)  # where a step gives four tokens, three are not worth one


def test_what_is_expected_counts_as_far_as_it_came_true() -> None:
    honest, boaster = taught({0: 3.0}), taught({0: 3.0}, took=0.2)
    assert honest.expects(0, 1) == pytest.approx(3.0, rel=0.1) and boaster.expects(0, 1) < 1.6
    assert honest.pays(Row(0), 1, 2.0, 0.0) and not boaster.pays(Row(0), 1, 2.0, 0.0)


def test_a_kind_never_seen_is_believed_to_be_as_the_others_and_one_that_gains_at_one_size_to_gain_at_all() -> None:
    dear = taught({0: 3.0, 1: 1.0})
    assert 1.0 < dear.expects(2, 1) < 3.0
    assert dear.expects(0, 2) > dear.expects(2, 2) > dear.expects(1, 2)


def test_a_text_on_which_it_adds_nothing_is_left_whatever_its_kind() -> None:
    dear, row, text = taught({0: 3.0}), Row(0), [0, 0]
    while dear.pays(row, 1, 1.5, 0.0) and len(text) < 60:
        dear.enter(row, 1.0, asked(at=len(text), tokens=3.0), 1.5)
        text.append(9)
        dear.settle(row, text)
    assert 4 < len(text) < 20 and dear.pays(Row(0), 1, 1.5, 0.0)  # another text of the kind is asked for


def test_a_new_kind_is_tried_on_one_text_once_there_is_time_for_it() -> None:
    dear, row = taught({0: 1.3}), Row(5)
    assert not dear.pays(row, 1, 2.0, 50.0)
    assert dear.pays(row, 1, 2.0, 1000.0) and row.tried
    for _ in range(FIRST):
        assert dear.pays(row, 1, 2.0, 50.0)  # begun is finished
        dear.enter(row, 1.0, asked(tokens=1.0), 2.0)
        dear.settle(row, [0, 0, 5, 6, 9])
    assert not dear.pays(row, 1, 2.0, 50.0) and not dear.pays(Row(5), 1, 2.0, 200.0)


def test_reading_the_prompt_is_spread_over_the_questions_a_kind_usually_has() -> None:
    dear = taught({0: 3.0})
    dear.first = 9.0
    assert dear.trade(Row(0), 1, 1.0)[1] == pytest.approx(1.0 + 8.0 / 8)
    for _ in range(60):
        row = Row(0)
        for _ in range(2):
            dear.enter(row, 1.0, asked(), 1.0)
        dear.forget(row, [0, 0, 9])
    assert dear.usual[0] == pytest.approx(2.0, abs=0.1) and dear.usual[1] == 8.0


def test_the_truth_is_that_of_the_last_questions() -> None:
    truth = Truth()
    assert truth.lift == 1.0
    for _ in range(200):
        truth.enter(1.0, 2.0)
    assert truth.expected == pytest.approx(2.0 / (1 - KEEP), rel=0.01) and 0.5 < truth.lift < 0.75
    for _ in range(200):
        truth.enter(-1.0, -2.0)  # what is expected to take tokens away and does
    assert truth.lift == 0.0
