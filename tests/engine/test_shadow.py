"""Drafters that are not at work, judged by what the text became."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

import paceline
from paceline.controllers.cost import Cost
from paceline.core.arms import Arm, Ask, Order
from paceline.core.proposal import Proposal
from paceline.core.request import Request
from paceline.drafters.ngram import Ngram
from paceline.engine import Engine
from paceline.engine.drafting import Drafting, Turn
from paceline.engine.shadow import Shadow, matched
from paceline.testing import tiny_lm
from tests.models.draft_head.test_head import ids


def test_a_tree_is_followed_along_the_text() -> None:
    tree = Proposal([5, 6, 7, 8], [-1, -1, 1, 2], [False] * 4, ["x"] * 4)
    assert [matched(tree, text) for text in ([6, 7, 8, 9], [6, 7, 1], [5, 7], [9], [])] == [3, 2, 1, 0, 0]
    assert matched(Proposal(), [1, 2]) == 0


class Says:
    """A free drafter that always proposes the same."""

    def __init__(self, *tokens: int) -> None:
        self.tokens, self.free = tokens, True

    def propose(self, rows: Any, budgets: Any) -> list[Proposal]:
        if not self.tokens:
            raise RuntimeError("broken")
        return [Proposal.chain(self.tokens[: budgets[0]], "says")]

    def forget(self, row: Any) -> None: ...


class Deaf:
    """A controller that keeps what it hears."""

    most = 16

    def __init__(self) -> None:
        self.heard = list[tuple[Any, ...]]()

    def hear(self, *what: Any) -> None:
        self.heard.append(what)


def probing(*drafters: Any) -> tuple[Shadow, Any]:
    """A shadow, and how it probes for one row under an order."""
    made, work = Shadow(drafters, Deaf()), Drafting(drafters, 99, chains=False)
    return made, lambda row, order: made.probe([row], [order], work.ask)


def text(*tokens: int, seconds: float = 99.0, strikes: Any = (), left: int = 9) -> Any:
    return SimpleNamespace(id=0, tokens=list(tokens), drafting=True, disabled=lambda which: which in strikes, left=left,
                           stats=SimpleNamespace(total_seconds=seconds, rounds=0, failures=[]), strikes={},
                           request=SimpleNamespace(reproducible=False))


PLAIN = Order.of(Arm(0, 0))


def test_who_no_order_names_is_judged_as_soon_as_the_text_has_outgrown_its_guess() -> None:
    (asked, probe), row = probing(Says(1, 2, 3), Says(), Says(9), SimpleNamespace(propose=None), Says(5)), text(4, 4, strikes={4})
    probe(row, PLAIN)  # one that raises, one that is not free and one that is out guess nothing
    assert [(g.drafter, len(g.proposal)) for g in asked.waiting[0]] == [(0, 3), (2, 1)] and asked.free(row) == [0, 1, 2]
    asked.tell([row])
    row.tokens = [4, 4, 1, 2]
    asked.tell([row])
    assert [what[:4] for what in asked.controller.heard] == [(0, 2, 1, 1)]  # the chain of three may still come true
    row.tokens = [4, 4, 1, 2, 7, 7]
    asked.tell([row])
    assert [what[:4] for what in asked.controller.heard] == [(0, 2, 1, 1), (0, 0, 3, 3)] and not asked.waiting
    probe(row, PLAIN)
    asked.forget(row)
    assert not asked.waiting
    for order in (Order.of(Arm(0, 16)), Order([(Arm(2, 0), 0.0)], [Ask(0, [(Arm(0, 16), 0.0)])])):
        asked.asked.pop(2, None)
        probe(row, order)
        assert not asked.waiting  # what is ordered is not asked aside
    probe(text(4, left=1), PLAIN)
    assert not asked.waiting


def test_what_was_said_in_vain_is_judged_too() -> None:
    (asked, _), row = probing(Says(1), Says(2)), text(4)
    turn = Turn(row, PLAIN, 8)
    for which, tokens in enumerate(([1], [2])):
        turn.hears(which, Proposal.chain(tokens, "says"), 0.5)
    turn.said.pop(0)  # taken
    asked.keep(turn, 1)
    row.tokens = [4, 2, 2]
    asked.tell([row])
    assert asked.controller.heard == [(0, 1, 2, 1, 0.5)]


def test_who_is_not_named_is_asked_for_a_hundredth_of_the_time_and_less_where_it_tells_little(
        monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(paceline.engine.drafting.time, "perf_counter", lambda: now.__setitem__(0, now[0] + 0.5) or now[0])
    (asked, probe), row = probing(Says(1, 2)), text(4, seconds=0.0)  # each question takes half a second
    account = asked.asked[0]
    probe(row, PLAIN)
    assert account.spent == account.price == 0.0  # the first question is free
    probe(row, PLAIN)
    assert account.spent == account.price == 0.5
    for row.stats.total_seconds, spent in ((99.0, 0.5), (101.0, 1.0), (149.0, 1.0)):
        probe(row, PLAIN)
        assert account.spent == spent
    row.tokens = [4, 9, 9, 9]  # no guess came true
    asked.tell([row])
    account.gives = 1.0
    for row.stats.total_seconds, spent in ((499.0, 1.0), (501.0, 1.5)):
        probe(row, PLAIN)
        assert account.spent == spent


def test_the_controller_hears_of_a_free_drafter_that_it_does_not_use() -> None:
    """Of a text that repeats itself, where the drafter at work never drafts."""
    lm, heard = tiny_lm(), []
    controller = Cost(prior=((1.0, 1.0, 0.0), (9.0, 1e-9, 0.0), (1.0, 1.0, 0.0))).attach(2)
    hear, controller.hear = controller.hear, lambda row, which, *rest: (heard.append((which, *rest)), hear(row, which, *rest))
    engine = Engine(lm, [Says(), Ngram(max_n=3, min_n=1, length=4, worth=0.0)], controller=controller)
    prompt = ids(9) * 4
    out = engine.run([Request(prompt, max_new_tokens=60)])[0]
    assert out.tokens == paceline.generate(lm, [prompt], max_new_tokens=60, eos=())[0].tokens
    assert heard and {which for which, *_ in heard} == {1} and all(tokens >= 1 for _, tokens, *_ in heard)
    assert not engine._shadow.waiting
