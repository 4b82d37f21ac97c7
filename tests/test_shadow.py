"""Drafters that are not at work, judged by what the text became."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

import paceline
from paceline.arm import Arm
from paceline.controllers.cost import Cost
from paceline.drafters.ngram import Ngram
from paceline.engine import Engine
from paceline.proposal import Proposal
from paceline.row import Request
from paceline.shadow import EVERY, Shadow, matched
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


def test_a_guess_is_judged_as_soon_as_the_text_has_outgrown_it() -> None:
    shadow = Shadow([Says(1, 2, 3), Says(), Says(9), SimpleNamespace(propose=None)])
    row: Any = SimpleNamespace(id=0, tokens=[4, 4], stats=SimpleNamespace(rounds=0, total_seconds=99.0))
    shadow.ask(row, active=2, budget=8)
    assert shadow.judged(row) == []
    row.tokens = [4, 4, 1, 2]
    assert shadow.judged(row) == []
    row.tokens = [4, 4, 1, 2, 7, 7]
    [(guess, tokens)] = shadow.judged(row)
    assert guess.drafter == 0 and tokens == 3 and shadow.judged(row) == []
    row.drafting, row.left = True, 9
    for row.stats.rounds in range(1, EVERY):
        shadow.look([row], [Arm(2, 8)], Cost().attach(4))
    assert not shadow.waiting
    row.stats.rounds = EVERY
    shadow.look([row], [Arm(0, 8)], Cost().attach(4))
    assert {guess.drafter for guess in shadow.waiting[0]} == {2}
    shadow.forget(row)
    assert not shadow.waiting


def test_asking_takes_a_hundredth_of_the_time_at_most_and_less_where_it_tells_little(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(paceline.shadow.time, "perf_counter", lambda: now.__setitem__(0, now[0] + 0.5) or now[0])
    shadow = Shadow([Says(1, 2)])  # each question takes half a second
    row: Any = SimpleNamespace(id=0, tokens=[4], left=9, drafting=True, stats=SimpleNamespace(rounds=EVERY, total_seconds=0.0))
    account, controller = shadow.asked[0][1], Cost().attach(1)
    shadow.look([row], [Arm(0, 0)], controller)
    assert account.spent == account.price == 0.0  # the first question is free
    shadow.look([row], [Arm(0, 0)], controller)
    assert account.spent == account.price == 0.5
    for row.stats.total_seconds, spent in ((99.0, 0.5), (101.0, 1.0), (149.0, 1.0)):
        shadow.look([row], [Arm(0, 0)], controller)
        assert account.spent == spent
    row.tokens = [4, 9, 9, 9]  # no guess came true
    shadow.look([row], [Arm(0, 0)], controller)
    account.gives = 1.0
    for row.stats.total_seconds, spent in ((1499.0, 1.0), (1501.0, 1.5)):
        shadow.look([row], [Arm(0, 0)], controller)
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
