"""Drafters that say so propose, under a smaller budget, the first nodes of what they propose under a larger one."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from paceline import Request, plugins
from paceline.core.arms import Arm, Outcome, View
from paceline.core.proposal import Proposal
from paceline.core.sampling import Sampling
from paceline.drafters.cape import Cape
from paceline.drafters.small_model import SmallModel
from paceline.engine import Engine
from paceline.lm import LM
from tests.contracts.test_greedy import prompts
from tests.tiny import nearly

SAMPLINGS = (Sampling(), Sampling(temperature=0.7, seed=3))


class Asked:
    """Asks a drafter for less first, and compares; what counts is what it proposes last."""

    def __init__(self, drafter: Any) -> None:
        self.drafter, self.nested = drafter, True
        self.compared = 0

    @property
    def captures(self) -> Sequence[str]:
        return getattr(self.drafter, "captures", ())

    def propose(self, rows: Sequence[Any], budgets: Sequence[int]) -> list[Proposal]:
        less = [self.drafter.propose(rows, [min(n, b) for b in budgets]) for n in (1, 3)]
        most = self.drafter.propose(rows, budgets)
        for n, proposals in zip((1, 3), less, strict=True):
            for few, many in zip(proposals, most, strict=True):
                beginning = many.clip(n)
                assert (list(few.tokens), list(few.parents)) == (list(beginning.tokens), list(beginning.parents))
                self.compared += len(many) > n
        return most

    def forget(self, row: Any) -> None:
        self.drafter.forget(row)


def drafted(lm: LM, options: Any, exact: bool | None, sampling: Sampling) -> Asked:
    asked = Asked(options.attach(lm))
    Engine(lm, asked, controller="fixed:budget=7", exact=exact).run(
        [Request(prompt, sampling, max_new_tokens=24) for prompt in prompts(lm.vocab)])
    return asked


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("exact", [None, False])
@pytest.mark.parametrize("name", plugins.names("drafter"))
def test_what_nests_does(name: str, exact: bool | None, sampling: Sampling, lm: LM, tiny_of: Any) -> None:
    options = tiny_of(name, lm)
    if not getattr(options.attach(lm), "nested", False):
        pytest.skip("says nothing of smaller budgets")
    assert drafted(lm, options, exact, sampling).compared > 0


@pytest.mark.parametrize("make", [
    lambda lm: SmallModel(model=nearly(lm), length=5, worth=0.0, branch=3),
    lambda lm: Cape(SmallModel(model=nearly(lm), length=5, worth=0.0), bins="paper"),
])  # fmt: skip
def test_so_do_leaves_beside_a_chain(make: Any, lm: LM) -> None:
    options = make(lm)
    assert options.attach(lm).nested and drafted(lm, options, False, Sampling()).compared > 0


def test_trees_of_a_width_that_follows_the_budget_do_not(lm: LM) -> None:
    assert not SmallModel(model=lm, beam=2).attach(lm).nested


def chain(nodes: int) -> Proposal:
    return Proposal.chain(list(range(nodes)), "test")


def test_a_round_reaches_as_far_as_its_draft_tells(lm: LM) -> None:
    """A chain of four under budgets of four and more, of which so many were taken."""
    nests, comb = SimpleNamespace(nested=True, propose=None), Proposal([1, 2], [-1, -1], [False] * 2, ["test"] * 2)
    engine = Engine(lm, [nests, SimpleNamespace(propose=None)], controller="fixed", exact=False)
    reached = [engine._reach(chain(4), Arm(0, budget), taken) for budget, taken in ((4, 4), (4, 2), (5, 4), (5, 2))]
    assert reached == [4, 4, sys.maxsize, sys.maxsize]
    assert engine._reach(chain(4), Arm(1, 4), 4) == 0  # a drafter that says nothing of it
    assert engine._reach(comb, Arm(0, 4), 0) == engine._reach(chain(0), Arm(0, 0), 0) == 0
    engine.drafting.chains = True  # then a tree's main chain is scored, so no branch can stand where the target left it
    assert engine._reach(chain(4), Arm(0, 4), 2) == sys.maxsize and engine._reach(chain(4), Arm(0, 4), 4) == 4


class Noting:
    """One budget always; keeps the outcome of every place of every prompt."""

    def __init__(self, budget: int, rounds: dict[tuple[int, int], Outcome]) -> None:
        self.budget, self.rounds, self.prompt, self.length = budget, rounds, 0, 0

    def pick(self, views: Sequence[View]) -> list[Arm]:
        [view] = views
        self.length = view.length
        return [Arm(0, self.budget)]

    def learn(self, outcomes: Sequence[Outcome]) -> None:
        [self.rounds[self.prompt, self.length]] = outcomes

    def forget(self, row: int) -> None: ...


def test_what_was_inferred_is_what_would_have_come(lm: LM) -> None:
    """Greedy texts with budgets of 5 and of 2 from the same places: the second's tokens follow from the first's round."""
    seen: dict[int, dict[tuple[int, int], Outcome]] = {2: {}, 5: {}}
    for budget, rounds in seen.items():
        engine = Engine(lm, SmallModel(model=nearly(lm), length=5, worth=0.0), controller=Noting(budget, rounds))
        for prompt in prompts(lm.vocab):
            engine.controller.prompt = len(prompt)
            engine.run([Request(prompt, max_new_tokens=24)])
    both = [(seen[5][at], seen[2][at]) for at in seen[2].keys() & seen[5].keys()]
    both = [(five, two) for five, two in both if not five.truncated and not two.truncated]
    inferred = [(min(sum(five.accepted), 2) + 1, two.tokens) for five, two in both if five.reach >= 2]
    assert len(inferred) > 3 and all(a == b for a, b in inferred) and len({a for a, _ in inferred}) > 1
