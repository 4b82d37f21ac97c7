"""Drafters that are not at work, judged by what the text became."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

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
    assert not shadow.waiting[0]
    row.stats.rounds = EVERY
    shadow.look([row], [Arm(0, 8)], Cost().attach(4))
    assert {guess.drafter for guess in shadow.waiting[0]} == {2}
    shadow.forget(row)
    assert not shadow.waiting and not shadow.spent


def test_asking_takes_a_hundredth_of_a_texts_time_at_most() -> None:
    shadow = Shadow([Says(1, 2)])
    row: Any = SimpleNamespace(id=0, tokens=[4], left=9, drafting=True, stats=SimpleNamespace(rounds=EVERY, total_seconds=0.0))
    shadow.look([row], [Arm(0, 0)], Cost().attach(1))
    asked, row.tokens = shadow.spent[0], [4, 9, 9, 9]
    for row.stats.total_seconds, more in ((asked * 99, False), (asked * 101, True)):
        shadow.look([row], [Arm(0, 0)], Cost().attach(1))
        assert (shadow.spent[0] > asked) is more


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
