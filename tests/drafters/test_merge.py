"""Merging drafters: one tree, sources kept, each drafter's chances learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch

import paceline
from paceline.core.proposal import Proposal
from paceline.core.sampling import Sampling
from paceline.drafters.merge import Merge, further, grafted
from paceline.drafters.small_model import SmallModel
from paceline.errors import SpecError
from paceline.lookup.trie import Price, Trie
from paceline.testing import ToyLM
from tests.laws import TIGHT, distance, engine_law, plain_law

TARGET, OTHER = ToyLM(3, seed=1), ToyLM(3, seed=2)


class Says:
    """Always proposes the same chain."""

    captures, has_model, timed = (), False, True

    def __init__(self, tokens: list[int], source: str) -> None:
        self.tokens, self.source, self.forgotten = tokens, source, 0

    def propose(self, rows: Sequence[Any], budgets: Sequence[int]) -> list[Proposal]:
        return [Proposal.chain(self.tokens, self.source)] * len(rows)

    def forget(self, row: Any) -> None:
        self.forgotten += 1


def row(tokens: list[int]) -> Any:
    return SimpleNamespace(tokens=list(tokens), id=0, last=None, request=SimpleNamespace(tenant=""), finish_reason=None,
                           prompt_len=len(tokens), left=200)


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
    assert drafter.captures == {"topk_logits"}
    drafter.forget(row([0]))
    assert says.forgotten == 1


class Costs:
    """A token costs a tenth of a plain step, which takes a second."""

    branching, plain = 0.0, SimpleNamespace(seconds=lambda rows, length: 1.0)

    def extra(self, nodes: int, rows: int = 1, length: int = 0) -> float:
        return 0.1 * nodes


class Model(Says):
    """What it says depends on how a text begins, and takes a while; a plain step takes a second, reading a token `reads`."""

    has_model = True

    def __init__(self, clock: list[float], takes: float, tokens: dict[int, list[int]], reads: float = 0.0) -> None:
        super().__init__([], "m")
        self.clock, self.takes, self.by, self.asked = clock, takes, tokens, list[int]()
        self.steps_to_read = lambda count: reads * count

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
        growing.left -= 1
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


def test_it_is_asked_for_the_texts_on_which_it_is_right(clock: list[float]) -> None:
    """Texts of two kinds in turn, on one of which the model, as sure of itself there, is always wrong."""
    model = Model(clock, 0.8, {0: [2, 2, 2], 50: [3, 3, 3]})
    drafter = Merge(("suffix", model)).attach(SimpleNamespace(costs=Costs()))
    for text in range(40):
        first = 50 * (text % 2)
        decode(drafter, clock, [first, *range(first + 1, first + 40)], 30, identity=text)
        if text == 19:
            model.asked.clear()
    right, wrong = model.asked.count(0), model.asked.count(50)
    assert right > 250 and wrong < 50, (right, wrong)


@pytest.mark.parametrize(("reads", "asked"), [(0.1, True), (2.0, False)])
def test_a_prompt_is_read_only_where_that_will_pay(clock: list[float], reads: float, asked: bool) -> None:
    """A hundred tokens in ten plain steps or in two hundred, for an answer of fifty rounds, by a model that adds three each."""
    model = Model(clock, 0.1, {0: [2, 2, 2]}, reads)
    drafter = Merge(("suffix", model)).attach(SimpleNamespace(costs=Costs()))
    decode(drafter, clock, [0, 1], 30)
    model.asked.clear()
    decode(drafter, clock, [0, *range(2, 102)], 50, identity=1)
    assert (len(model.asked) > 45) is asked and (asked or not model.asked)


def test_nothing_is_asked_where_the_others_expect_as_much(clock: list[float]) -> None:
    """The other is right about all that the model would say."""
    model = Model(clock, 0.5, {0: [2, 2, 2]})
    drafter = Merge((Says([2, 2, 2], "a"), model)).attach(SimpleNamespace(costs=Costs()))
    decode(drafter, clock, [0, 1], 100)
    assert len(model.asked) < 12


def test_a_draft_that_fails_in_the_midst_of_a_text_leaves_its_question_unanswered(clock: list[float]) -> None:
    """What has failed is forgotten while the row goes on; its text has not shown what the last question was worth."""
    drafter, growing = Merge(("suffix", Model(clock, 0.1, {0: [2, 2, 2]}))).attach(SimpleNamespace(costs=Costs())), row([0, 1])
    for finish_reason, answered in ((None, 0), ("length", 1)):
        drafter.propose([growing], [8])
        growing.finish_reason, growing.new_tokens = finish_reason, []
        drafter.forget(growing)
        gate = drafter.gates[1]
        assert sum(times for _, times in gate._seen.values()) == answered and not gate.texts and not drafter._guesses


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


def grown(*chains: tuple[list[tuple[int, float]], str]) -> Trie:
    made = Trie()
    for chain, source in chains:
        made.add(chain, source)
    return made


def test_what_was_drawn_stands_as_it_is_and_what_it_lacks_hangs_behind_it() -> None:
    laws = [torch.tensor([0.0, 0.5, 0.5]), torch.tensor([0.0, 0.5, 0.5])]
    drawn = Proposal.chain([1, 2], "m", drawn=True, distributions=laws)
    both = grafted(drawn, grown(([(1, 0.9), (1, 0.9)], "a"), ([(2, 0.3)], "a")).best(8))
    assert list(both.tokens) == [1, 2, 1, 2] and list(both.parents) == [-1, 0, 0, -1]
    assert list(both.drawn) == [True, True, False, False] and list(both.source) == ["m", "m", "a", "a"]
    assert all(both.distributions[parent] is law for parent, law in drawn.distributions.items())


def test_what_is_chosen_beside_a_drawn_chain_has_to_be_worth_it() -> None:
    """The chance that the text takes a node which is not drawn anyway is less, the likelier the law has it."""
    chosen, found = [grown(([(1, 0.9), (2, 0.9)], "a"))], []
    for share in (0.1, 0.95):
        drawn = Proposal.chain([2], "m", drawn=True, distributions=[torch.tensor([0.0, share, 1 - share])])
        found.append(list(further(chosen, 7, drawn, grown(([(2, 0.5)], "m")), Price(lambda n: 0.2 * n)).tokens))
    assert found == [[1, 2], []]


def test_bad_options_are_named() -> None:
    with pytest.raises(SpecError, match="at least one drafter"):
        Merge(())
    with pytest.raises(SpecError, match="There is no drafter 'sufix'"):
        Merge(("sufix",)).attach(None)
