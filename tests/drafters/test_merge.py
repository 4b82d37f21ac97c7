"""Merging drafters: one tree, sources kept, each drafter's chances learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import paceline
from paceline.arm import Arm
from paceline.drafters._dear import Added
from paceline.drafters.merge import Draft, Merge
from paceline.drafters.small_model import SmallModel
from paceline.engine import Engine
from paceline.errors import SpecError
from paceline.lookup.trie import Price, Trie
from paceline.proposal import Proposal
from paceline.sampling import Sampling
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
    assert drafter.reads == ("topk_logits",)
    drafter.forget(row([0]))
    assert says.forgotten == 1


class Costs:
    """A token costs a tenth of a plain step, which takes a second."""

    branching = 0.0

    def extra(self, nodes: int, rows: int = 1) -> float:
        return 0.1 * nodes

    def seconds(self, tokens: int) -> float:
        return 1.0


@pytest.mark.parametrize(("takes", "says", "least", "most"), [
    (0.1, [2, 2, 2], 299, 300), (5.0, [2, 2, 2], 4, 10), (0.1, [], 6, 60),
])  # fmt: skip
def test_one_with_a_model_is_asked_as_often_as_it_pays(
        monkeypatch: pytest.MonkeyPatch, takes: float, says: list[int], least: int, most: int) -> None:
    """Three tokens, all right, for a tenth of a step, for five steps, and none at all; the other drafter has nothing to say."""
    now, asked = [0.0], []

    class Model(Says):
        def propose(self, rows: Sequence[Any], budgets: Sequence[int]) -> list[Proposal]:
            now[0] += takes
            asked.append(len(rows))
            return super().propose(rows, budgets)

    monkeypatch.setattr(paceline.drafters.merge.time, "perf_counter", lambda: now[0])
    drafter = Merge(("suffix", Model(says, "m"))).attach(SimpleNamespace(costs=Costs()))
    growing = row([0, 1])
    for step in range(300):
        [tree] = drafter.propose([growing], [8])
        growing.tokens += [2] * (1 + len(tree)) + [3 + step]  # what was drafted is right, and nothing repeats itself for long
    assert least <= len(asked) <= most, len(asked)


@pytest.mark.parametrize(("pace", "begun", "pays"),
                         [(1.1, False, True), (1.3, False, False), (1.3, True, True), (1.5, True, False)])
def test_where_a_step_gives_more_a_model_has_to_add_more(pace: float, begun: bool, pays: bool) -> None:
    """A token more for seven tenths of a step; the reading of the prompt, eight tenths, is spread over eight questions."""
    drafter = Merge(("suffix", Says([2], "m"))).attach(SimpleNamespace(costs=Costs()))
    [dear] = drafter.dear.values()
    dear.added[1] = Added(times=9, tokens=1.0, cost=0.2)
    dear.steps, dear.first, drafter.pace, dear.asked = 0.5, 1.3, pace, {0: 1} if begun else {}
    assert drafter._pays(dear, Draft(SimpleNamespace(id=0), 8)) is pays
    drafter.taken = 100.0  # finding out may cost a hundredth of all time
    assert drafter._pays(dear, Draft(SimpleNamespace(id=0), 8))


def test_a_model_that_costs_nothing_and_takes_tokens_away_is_not_asked() -> None:
    drafter = Merge(("suffix", Says([2], "m"))).attach(SimpleNamespace(costs=Costs()))
    [dear] = drafter.dear.values()
    dear.added[1] = Added(times=9, tokens=-1.0)
    assert not drafter._pays(dear, Draft(SimpleNamespace(id=0), 8))


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
    assert list(tree.tokens) == sure[9] and {kind[2] for kind in drafter.rates._seen} == {9, 1}


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
    merge, sampling, seen = Merge(tuple(made[name] for name in drafters), worth=0.0), Sampling(temperature=1.0, seed=0), []

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


def test_what_is_chosen_beside_a_drawn_chain_has_to_be_worth_it() -> None:
    """The chance that the text takes a node which is not drawn anyway is less, the likelier the law has it."""
    drafter = Merge(("recycle",)).attach(SimpleNamespace(costs=Costs()))
    tree, found = Trie(), []
    tree.add([(1, 0.9), (2, 0.9)], "a")
    for share in (0.1, 0.95):
        law = torch.tensor([0.0, share, 1 - share])
        drawn, told = Proposal.chain([2], "m", drawn=True, laws=[law]), Trie()
        told.add([(2, 0.5)], "m")
        found.append(list(drafter._further(Draft(row([0]), 8, chosen=[tree]), drawn, told, Price(lambda n: 0.2 * n)).tokens))
    assert found == [[1, 2], []]


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
