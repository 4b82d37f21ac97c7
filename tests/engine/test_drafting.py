"""Who is asked in a round, and what every row has scored."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from paceline.core.arms import Arm, Ask, Offer, Order
from paceline.core.proposal import Proposal
from paceline.core.request import Request
from paceline.engine import Engine
from paceline.engine.drafting import Drafting
from paceline.testing import tiny_lm

CONTEXT = 1000


class Says:
    """Proposes the same chain and notes for how many rows it was asked, with which budgets."""

    free = True

    def __init__(self, *tokens: int, drawn: bool = False) -> None:
        self.tokens, self.drawn, self.asked = tokens, drawn, list[list[int]]()

    def propose(self, rows: Sequence[Any], budgets: Sequence[int]) -> list[Proposal]:
        self.asked.append(list(budgets))
        laws = [torch.full((9,), 1 / 9)] * len(self.tokens)
        return [Proposal.chain(self.tokens, "says", self.drawn, laws)] * len(rows)

    def forget(self, row: Any) -> None: ...


def row(which: int, left: int = 50, drafting: bool = True) -> Any:
    return SimpleNamespace(id=which, tokens=[1], reach=1, left=left, drafting=drafting, disabled=lambda drafter: False,
                           strikes={}, request=SimpleNamespace(reproducible=False))


def asking(nodes: int, promise: float, otherwise: Sequence[Arm] = (Arm(0, 0),)) -> Order:
    """The first drafter is asked; from so many nodes on it promises so much, where all others promise 1."""
    by = [(Arm(0, 8), promise if n >= nodes else 0.0) for n in range(9)]
    return Order([(arm, 1.0) for arm in otherwise], [Ask(0, by)], rounds=4)


@pytest.mark.parametrize(("nodes", "promise", "arm", "taken"), [
    (3, 2.0, Arm(0, 8), True), (4, 2.0, Arm(1, 4), False), (3, 0.5, Arm(1, 4), False),
])  # fmt: skip
def test_an_order_is_settled_by_what_is_said(nodes: int, promise: float, arm: Arm, taken: bool) -> None:
    order = asking(nodes, promise, (Arm(0, 0), Arm(0, 0), Arm(1, 4)))
    assert order.settle([Offer(0, 3)]) == (arm, Offer(0, 3) if taken else None)
    assert order.settle([Offer(0, 0)]) == order.settle([]) == (Arm(0, 0), None)  # nothing was said
    assert order.names(0) and order.names(1) and not order.names(2) and not Order.of(Arm(0, 0)).names(0)


def test_who_is_asked_first_is_asked_for_all_rows_together() -> None:
    """So that a drafter knows for how many rows a token is priced, and no row is asked that cannot draft."""
    says, other = Says(5, 6), Says(7)
    rows, work = [row(0), row(1, left=1), row(2, left=2), row(3, drafting=False)], Drafting([says, other], 9, chains=False)
    turns = work.turns(rows, [asking(1, 2.0)] * 4, CONTEXT)
    assert says.asked == [[8, 1]] and not other.asked
    assert [list(turn.proposal.tokens) for turn in turns] == [[5, 6], [], [5], []]
    assert turns[0].offers == [Offer(0, 2)] and not turns[0].said
    assert [turn.arm.budget for turn in turns] == [8, 0, 1, 0]


def test_another_drafts_where_what_is_said_is_not_enough() -> None:
    says, other = Says(5, 6), Says(7, 7, 7)
    order = asking(3, 2.0, [Arm(0, 0), Arm(0, 0), Arm(1, 2)])
    [turn] = Drafting([says, other], 9, chains=False).turns([row(0)], [order], CONTEXT)
    assert list(turn.proposal.tokens) == [7, 7] and turn.arm == Arm(1, 2) and set(turn.said) == {0}


@pytest.mark.parametrize("promise", [0.5, 2.0])
def test_what_was_drawn_is_taken_whatever_it_promises(promise: float) -> None:
    """Whether it stands may not depend on the draws, such as on how many nodes were left beside them."""
    says, other = Says(5, 6, drawn=True), Says(7)
    order = asking(1, promise, [Arm(0, 0), Arm(0, 0), Arm(1, 2)])
    [turn] = Drafting([says, other], 9, chains=False).turns([row(0)], [order], CONTEXT)
    assert list(turn.proposal.tokens) == [5, 6] and not turn.proposal.all_chosen and turn.arm.drafter == 0 and not other.asked


def test_what_was_drawn_is_not_cut_by_how_much_there_is_of_it() -> None:
    """Where two nodes are best left to the arm of one, a drawn chain keeps both."""
    order = Order([(Arm(0, 0), 0.0)], [Ask(0, [(Arm(0, 1), 1.0)] * 9)])
    for drawn, tokens in ((False, [5]), (True, [5, 6])):
        [turn] = Drafting([Says(5, 6, drawn=drawn)], 9, chains=False).turns([row(0)], [order], CONTEXT)
        assert list(turn.proposal.tokens) == tokens


class Counting:
    """A controller whose orders stand for five rounds, and what it is told."""

    def __init__(self) -> None:
        self.picks, self.told = list[int](), list[int]()

    def pick(self, views: Sequence[Any]) -> list[Order]:
        self.picks.append(len(views))
        return [Order([(Arm(0, 4), 0.0)], rounds=5)] * len(views)

    def learn(self, outcomes: Sequence[Any]) -> None:
        self.told.append(len(outcomes))

    def forget(self, row: int) -> None: ...


def test_an_order_stands_until_its_rounds_are_over_or_rows_come_and_go() -> None:
    """Every round is told, one by one, before the next pick."""
    lm, controller = tiny_lm(), Counting()
    engine = Engine(lm, "none", controller=controller, slots=2)
    first = engine.submit(Request([1, 2], max_new_tokens=12))
    for _ in range(7):
        engine.step()
    assert controller.picks == [1, 1] and controller.told == [1] * 5
    second = engine.submit(Request([3], max_new_tokens=4))
    engine.step()
    assert controller.picks == [1, 1, 2] and controller.told == [1] * 7
    while second.finish_reason is None:
        engine.step()
    assert controller.told == [1] * 7 + [2] * 4
    while first.finish_reason is None:
        engine.step()
    assert controller.picks == [1, 1, 2, 1] and controller.told == [1] * 7 + [2] * 4 + [1]
