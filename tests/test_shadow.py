"""Drafters that are not at work, judged by what the text became."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

import paceline
from paceline.arm import Arm, Offer
from paceline.controllers.cost import Cost
from paceline.drafters.ngram import Ngram
from paceline.engine import Engine
from paceline.proposal import Proposal
from paceline.row import Request
from paceline.shadow import Shadow, matched
from paceline.testing import tiny_lm
from tests.lm.test_head import ids


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
    """A controller that wants to hear of these drafters in any case, and keeps what it hears."""

    most = 16

    def __init__(self, *wanted: int) -> None:
        self.wanted, self.heard = wanted, list[tuple[Any, ...]]()

    def wants(self, row: int, drafter: int) -> bool:
        return drafter in self.wanted

    def hear(self, *what: Any) -> None:
        self.heard.append(what)


def looking(*drafters: Any, wanted: Any = ()) -> tuple[Shadow, Any]:
    """A shadow, and how it looks at one row."""
    asked = Shadow(drafters, Deaf(*wanted))

    def ask(which: int, group: Any) -> dict[int, Proposal]:
        try:
            return {row.id: p for (row, _), p in zip(group, drafters[which].propose(*zip(*group, strict=True)), strict=True)}
        except RuntimeError:
            return {}

    return asked, lambda row, budget: asked.look([row], [budget], ask)[0]


def text(*tokens: int, seconds: float = 99.0, strikes: Any = ()) -> Any:
    return SimpleNamespace(id=0, tokens=list(tokens), drafting=True, struck=lambda which: which in strikes,
                           stats=SimpleNamespace(total_seconds=seconds, rounds=0))


def test_an_offer_is_taken_or_judged_as_soon_as_the_text_has_outgrown_it() -> None:
    (asked, look), row = looking(Says(1, 2, 3), Says(), Says(9), SimpleNamespace(propose=None), Says(5)), text(4, 4, strikes={4})
    assert look(row, 8) == [Offer(0, 3), Offer(2, 1)]  # one that raises, one that is not free and one that is out offer nothing
    taken = asked.take(row, Arm(2, 8))
    assert taken.proposal.tokens == (9,) and asked.take(row, Arm(3, 8)) is None and asked.take(row, Arm(0, 0)) is None
    assert asked.judged(row) == []
    row.tokens = [4, 4, 1, 2]
    assert asked.judged(row) == []
    row.tokens = [4, 4, 1, 2, 7, 7]
    look(row, 0)
    [(of, drafter, tokens, nodes, _)] = asked.controller.heard
    assert (of, drafter, tokens, nodes) == (0, 0, 3, 3) and not asked.waiting
    look(row, 2)
    assert [len(guess.proposal) for guess in asked.waiting[0]] == [2, 1]
    asked.forget(row)
    assert not asked.waiting


def test_who_is_not_wanted_is_asked_for_a_hundredth_of_the_time_and_less_where_it_tells_little(
        monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(paceline.shadow.time, "perf_counter", lambda: now.__setitem__(0, now[0] + 0.5) or now[0])
    (asked, look), row = looking(Says(1, 2)), text(4, seconds=0.0)  # each question takes half a second
    account = asked.asked[0]
    look(row, 8)
    assert account.spent == account.price == 0.0  # the first question is free
    look(row, 8)
    assert account.spent == account.price == 0.5
    for row.stats.total_seconds, spent in ((99.0, 0.5), (101.0, 1.0), (149.0, 1.0)):
        look(row, 8)
        assert account.spent == spent
    row.tokens = [4, 9, 9, 9]  # no guess came true
    look(row, 8)
    account.gives = 1.0
    for row.stats.total_seconds, spent in ((1499.0, 1.0), (1501.0, 1.5)):
        look(row, 8)
        assert account.spent == spent
    row.stats.total_seconds, row.stats.rounds = 9999.0, 1  # not in every round
    assert look(row, 8) == []
    asked.controller.wanted = (0,)
    assert len(look(row, 8)) == 1 and account.spent == 1.5  # what a pick needs is not charged


def test_a_question_is_asked_for_all_rows_together_and_what_it_drew_counts_as_chosen() -> None:
    """So that a drafter knows for how many rows a token is priced."""
    seen: list[int] = []

    class Drawn(Says):
        def propose(self, rows: Any, budgets: Any) -> list[Proposal]:
            seen.append(len(rows))
            return [Proposal([7], [-1], [True], ["x"])] * len(rows)

    drafter = Drawn(7)
    asked = Shadow([drafter], Deaf(0))
    rows = [SimpleNamespace(**vars(text(4)) | {"id": i}) for i in range(3)]
    offers = asked.look(rows, [8, 0, 8], lambda which, group: {
        row.id: p for (row, _), p in zip(group, drafter.propose(*zip(*group, strict=True)), strict=True)})
    assert seen == [2] and offers == [[Offer(0, 1)], [], [Offer(0, 1)]]
    assert asked.take(rows[0], Arm(0, 8)).proposal.all_chosen


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
