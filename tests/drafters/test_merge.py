"""Merging drafters: one tree, sources kept, each drafter's chances learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

import paceline
from paceline.core.arms import Arm
from paceline.core.proposal import Proposal
from paceline.core.sampling import Sampling
from paceline.drafters.merge import Merge
from paceline.drafters.small_model import SmallModel
from paceline.engine import Engine
from paceline.errors import SpecError
from paceline.testing import ToyLM, tiny_lm
from tests.laws import TIGHT, distance, engine_law, plain_law

TARGET, OTHER = ToyLM(3, seed=1), ToyLM(3, seed=2)


class Says:
    """Always proposes the same chain."""

    def __init__(self, tokens: list[int], source: str) -> None:
        self.tokens, self.source, self.forgotten = tokens, source, 0

    def propose(self, rows: Sequence[Any], budgets: Sequence[int]) -> list[Proposal]:
        return [Proposal.chain(self.tokens, self.source)] * len(rows)

    def forget(self, row: Any) -> None:
        self.forgotten += 1


def row(tokens: list[int]) -> Any:
    return SimpleNamespace(tokens=list(tokens), id=0, last=None, request=SimpleNamespace(tenant=""), finish_reason=None,
                           prompt_len=len(tokens))


def test_proposals_share_one_tree_and_keep_their_sources() -> None:
    drafter = Merge((Says([1, 2], "a"), Says([1, 3], "b")), worth=0.0).attach(None)
    tree = drafter.propose([row([0])], [8])[0]
    assert sorted(tree.tokens) == [1, 2, 3] and tree.all_chosen and len(tree) == 3
    assert {t: s for t, s in zip(tree.tokens, tree.source, strict=True) if t != 1} == {2: "a", 3: "b"}
    assert len(drafter.propose([row([0])], [2])[0]) == 2


def test_the_drafter_that_is_right_comes_first() -> None:
    drafter = Merge((Says([1, 1, 1], "a"), Says([2, 2, 2], "b")), worth=0.0).attach(None)
    growing = row([0])
    for _ in range(12):
        tree = drafter.propose([growing], [3])[0]
        growing.tokens.append(2)
    assert list(tree.tokens) == [2, 2, 2] and set(tree.source) == {"b"}


def test_it_reads_what_its_drafters_read_and_forgets_with_them() -> None:
    says = Says([1], "a")
    drafter = Merge((says, "recycle")).attach(SimpleNamespace(costs=None))
    assert drafter.captures == ("topk_logits",)
    drafter.forget(row([0]))
    assert says.forgotten == 1


class Costs:
    """A token costs a tenth of a plain step, which takes a second."""

    branching = 0.0

    def extra(self, nodes: int, rows: int = 1) -> float:
        return 0.1 * nodes

    def seconds(self, tokens: int) -> float:
        return 1.0


class Model(Says):
    """What it says depends on how a text begins, and takes a while; a plain step takes a second."""

    def __init__(self, clock: list[float], takes: float, tokens: dict[int, list[int]]) -> None:
        super().__init__([], "m")
        self.clock, self.takes, self.by, self.asked = clock, takes, tokens, list[int]()

    def propose(self, rows: Sequence[Any], budgets: Sequence[int]) -> list[Proposal]:
        self.clock[0] += self.takes
        self.asked += [row.tokens[0] for row in rows]
        return [Proposal.chain(self.by[row.tokens[0]], "m") for row in rows]


def decode(drafter: Any, clock: list[float], begins: list[int], steps: int, identity: int = 0) -> None:
    """A text that goes on with twos as far as they were drafted, and then with what was never seen."""
    growing = row(begins)
    growing.id = identity
    for step in range(steps):
        [tree] = drafter.propose([growing], [8])
        hits = [token == 2 for token in tree.tokens]
        growing.tokens += [2] * (*hits, False).index(False) + [1000 + 97 * identity + step]
        clock[0] += 1.0 + 0.1 * len(tree)
    growing.finish_reason, growing.new_tokens = "length", []
    drafter.forget(growing)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(paceline.drafters.merge.time, "perf_counter", lambda: now[0])
    return now


@pytest.mark.parametrize(("takes", "says", "least", "most"), [
    (0.1, [2, 2, 2], 290, 300), (5.0, [2, 2, 2], 1, 10), (0.1, [], 4, 60), (0.1, [3, 3, 3], 4, 60),
])  # fmt: skip
def test_one_with_a_model_is_asked_as_often_as_it_pays(
        clock: list[float], takes: float, says: list[int], least: int, most: int) -> None:
    """Three tokens, all right, for a tenth of a step, for five steps; none; and wrong ones. The other has nothing to say."""
    model = Model(clock, takes, {0: says})
    drafter = Merge(("suffix", model)).attach(SimpleNamespace(costs=Costs()))
    decode(drafter, clock, [0, 1], 300)
    assert least <= len(model.asked) <= most, len(model.asked)


def test_it_is_asked_for_the_kind_of_text_on_which_it_is_right(clock: list[float]) -> None:
    """Texts of two kinds in turn, on one of which the model, as sure of itself there, is always wrong."""
    model = Model(clock, 0.8, {0: [2, 2, 2], 50: [3, 3, 3]})
    drafter = Merge(("suffix", model)).attach(SimpleNamespace(costs=Costs()))
    for text in range(40):
        first = 50 * (text % 2)
        decode(drafter, clock, [first, *range(first + 1, first + 40)], 30, identity=text)
        if text == 19:
            model.asked.clear()
    right, wrong = model.asked.count(0), model.asked.count(50)
    assert right > 250 and wrong < 30, (right, wrong)


def test_time_goes_by_as_the_clock_says_and_by_kind_of_text(clock: list[float]) -> None:
    drafter = Merge(("suffix", Model(clock, 0.0, {0: [2, 2, 2]}))).attach(SimpleNamespace(costs=Costs()))
    decode(drafter, clock, [0, 1], 60)
    assert drafter.spent == pytest.approx(clock[0], rel=0.03) and 2.0 < drafter.paces[0].rate < 4 / 1.3


def test_a_draft_that_fails_in_the_midst_of_a_text_leaves_its_question_unanswered(clock: list[float]) -> None:
    """What has failed is forgotten while the row goes on; its text has not shown what the last question was worth."""
    drafter, growing = Merge(("suffix", Model(clock, 0.1, {0: [2, 2, 2]}))).attach(SimpleNamespace(costs=Costs())), row([0, 1])
    for finish_reason, answered in ((None, 0), ("length", 1)):
        drafter.propose([growing], [8])
        growing.finish_reason, growing.new_tokens = finish_reason, []
        drafter.forget(growing)
        assert sum(added.times for added in drafter.dear[1].every.values()) == answered and not drafter._rows


def test_how_sure_a_drafter_was_tells_what_its_tokens_are_worth() -> None:
    """Two chains of one token: the one its drafter was sure of has always been right, the other never."""
    sure = {9: [2], 1: [7]}
    drafter = Merge((Says([2], "a"), Says([7], "b")), worth=0.0).attach(None)
    for inner, share in zip(drafter.inner, (0.95, 0.15), strict=True):
        [chain] = inner.propose([row([0])], [1])
        told = replace(chain, likely={-1: [(chain.tokens[0], share)]})
        inner.propose = lambda rows, budgets, told=told: [told]
    growing = row([0])
    for _ in range(20):
        tree = drafter.propose([growing], [1])[0]
        growing.tokens.append(2)
    assert list(tree.tokens) == sure[9] and {kind[2] for kind in drafter.rates[0]._seen} == {9, 1}


def test_drafters_that_stand_beside_it_are_shared_and_not_forgotten_twice() -> None:
    engine = Engine(tiny_lm(), ["suffix", "merge:drafters=[suffix,recycle],worth=0"], controller=Both())
    alone, merged = engine.drafters
    assert merged.inner[0] is alone and merged.own == [False, True]
    engine.run([paceline.Request([1, 2, 1, 2, 1], max_new_tokens=20)])
    assert len(alone.ended) == 1 and not alone._rows and not merged._rows


@pytest.mark.parametrize("drafters", [("chosen", "drawn"), ("drawn", "chosen")])
def test_the_sampled_law_is_exact_where_one_draws_and_others_choose(drafters: tuple[str, ...]) -> None:
    """By walking every outcome: a drawn chain stands, and beside it what was chosen without looking at it."""
    made = {"chosen": Says([1, 2], "a"), "drawn": SmallModel(model=OTHER, length=2, worth=0.0)}
    merge, sampling, seen = Merge(tuple(made[name] for name in drafters), worth=0.0), Sampling(temperature=1.0), []

    class Seen:
        def attach(self, lm: Any) -> Any:
            merged = merge.attach(lm)
            propose = merged.propose
            merged.propose = lambda rows, budgets: seen.append(propose(rows, budgets)) or seen[-1]
            return merged

    law = engine_law(TARGET, [1], sampling, 2, Seen(), room=2)
    assert distance(law, plain_law(TARGET, [1], sampling, 2)) < TIGHT
    trees = [tree for made in seen for tree in made if len(tree) > 2]
    assert any(set(tree.drawn) == {True, False} for tree in trees) and all(tree.drawn[0] for tree in trees)


class Both:
    """One drafter after the other."""

    def __init__(self) -> None:
        self.turn = 0

    def pick(self, views: Sequence[Any]) -> list[Arm]:
        self.turn += 1
        return [Arm(self.turn % 2, 4)] * len(views)

    def learn(self, outcomes: Sequence[Any]) -> None: ...

    def forget(self, row: int) -> None: ...


def test_bad_options_are_named() -> None:
    with pytest.raises(SpecError, match="at least one drafter"):
        Merge(())
    with pytest.raises(SpecError, match="There is no drafter 'sufix'"):
        Merge(("sufix",)).attach(None)
