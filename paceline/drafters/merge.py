"""Several drafters' proposals in one tree, the best of them under one budget.

Nodes that two drafters propose stand once. What a node is worth is learned as it goes, by drafter, depth and how sure the
drafter was, from every node whose parent the text came to, drafted or not. The nodes' sources stay with them, so a run shows who
gave what.

Drafters that cost next to nothing (suffix, recycle, toolcall) are asked always, one with a model only where it adds more than it
takes (`_gated.py`). Nobody ships the like (TensorRT-LLM's suffix automaton beside a trained head comes near).
"""

import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

from paceline import plugins
from paceline.core.proposal import Proposal
from paceline.core.protocols import Drafter, Target
from paceline.core.row import Row
from paceline.drafters._gated import Gate, Plan
from paceline.errors import SpecError
from paceline.lookup.acceptance import believed, bin_of
from paceline.lookup.guess import Guess
from paceline.lookup.rates import Rates
from paceline.lookup.stopping import worthwhile
from paceline.lookup.trie import Price, Trie, merged, price_of

__all__ = ["Merge"]

DEEP = 6  # depths beyond this are alike


@dataclass(frozen=True)
class Merge:
    """drafters: specs, with brackets around those that have options. worth: price of a drafted token as a share of a plain step;
    None = as measured, 0 = all that the budget allows. With a price given all drafters are asked.
    """

    drafters: tuple[Any, ...] = ("suffix", "recycle")
    worth: float | None = None

    def __post_init__(self) -> None:
        if not self.drafters or not 0 <= (self.worth or 0) < 1:
            raise SpecError(f"merge needs at least one drafter and 0 <= worth < 1; found drafters={self.drafters}, "
                            f"worth={self.worth}.")

    def attach(self, lm: Target) -> "Merged":
        return Merged(self, lm, [plugins.attached("drafter", spec, lm) for spec in self.drafters])


@dataclass
class Draft:
    """One row's tree in the making. trees: of all drafters; chosen: of those that drew nothing; drawn: what one drew, and the
    same with chances.
    """

    row: Row
    budget: int
    price: Price | None
    trees: list[Trie] = field(default_factory=list)
    chosen: list[Trie] = field(default_factory=list)
    drawn: tuple[Proposal, Trie] | None = None
    known: Plan | None = None

    def add(self, tree: Trie, proposal: Proposal | None = None) -> None:
        """What one drafter proposes; of several that draw the first alone counts."""
        self.trees.append(tree)
        self.known = None
        if proposal is None or proposal.all_chosen:
            self.chosen.append(tree)
        elif self.drawn is None:
            self.drawn = proposal, tree

    def plan(self) -> Plan:
        """The best nodes of all so far."""
        if self.known is None:
            self.trees = [tree := merged(self.trees)]
            nodes = tree.choose(self.budget, self.price)
            self.known = Plan(tree, nodes, *(tree.expects(nodes, self.price) if self.price else (1.0, 1.0)))
        return self.known

    def proposal(self) -> Proposal:
        """All nodes chosen; under sampling what a model drew, and beside it what was chosen without looking at that."""
        if self.drawn is None:
            return self.plan().tree.proposal(self.plan().nodes)
        drawn, told = self.drawn
        return grafted(drawn, further(self.chosen, self.budget - len(drawn), drawn, told, self.price))


@runtime_checkable
class Growing(Protocol):
    """A drafter that tells the chances of what it proposes itself."""

    def grown(self, row: Row) -> Trie: ...


@runtime_checkable
class Reading(Protocol):
    """A drafter that knows in how many plain steps its model reads so many tokens."""

    def steps_to_read(self, tokens: int) -> float: ...


class Merged:
    """The attached drafter. Its own memory is how each drafter has done; they keep theirs."""

    timed = True

    def __init__(self, options: Merge, lm: Target, inner: Sequence[Drafter]) -> None:
        self.options, self.lm, self.inner = options, lm, inner
        self.captures = frozenset(what for drafter in inner for what in drafter.captures)
        self.has_model = any(drafter.has_model for drafter in inner)
        self.gates = {which: Gate(drafter.steps_to_read if isinstance(drafter, Reading) else lambda tokens: 0.0)
                      for which, drafter in enumerate(inner) if options.worth is None and drafter.has_model}
        for gate in self.gates.values():
            gate.steps_to_read(1)  # measured now: later it would count as the price of a question
        self.rates = Rates(believed_of)
        self._guesses: dict[tuple[int, int], Guess] = {}  # by row and drafter

    def propose(self, rows: Sequence[Row], budgets: Sequence[int]) -> list[Proposal]:
        """One tree for each row."""
        price = price_of(self.lm, self.options.worth, rows)
        drafts = [Draft(row, budget, price) for row, budget in zip(rows, budgets, strict=True)]
        for which in range(len(self.inner)):
            if which not in self.gates:
                self._ask(which, drafts)
        for which, gate in self.gates.items():
            self._ask_where_it_pays(which, gate, drafts)
        return [draft.proposal() for draft in drafts]

    def forget(self, row: Row) -> None:
        for gate in self.gates.values():
            gate.forget(row)
        for which, drafter in enumerate(self.inner):
            self._guesses.pop((row.id, which), None)
            drafter.forget(row)

    def _ask(self, which: int, drafts: Sequence[Draft]) -> None:
        """Add one drafter's trees, with chances: its own where it tells them (`grown`), else those of its past."""
        drafter = self.inner[which]
        if isinstance(drafter, Growing):
            for draft in drafts:
                draft.add(drafter.grown(draft.row))
            return
        found = drafter.propose([draft.row for draft in drafts], [draft.budget for draft in drafts])
        for draft, proposal in zip(drafts, found, strict=True):
            draft.add(self._told(which, draft.row, proposal), proposal)

    def _ask_where_it_pays(self, which: int, gate: Gate, drafts: Sequence[Draft]) -> None:
        """Ask one with a model for the rows to which it is expected to add more than it takes."""
        for draft in drafts:
            gate.settle(draft.row)
        asked = [draft for draft in drafts if gate.opens(draft.row, draft.plan())]
        if not asked:
            return
        start, longest = time.perf_counter(), max(len(draft.row.tokens) for draft in drafts)
        self._ask(which, asked)
        steps = (time.perf_counter() - start) / self.lm.costs.plain.seconds(len(drafts), longest)
        for draft in asked:
            gate.enter(draft.row, steps, draft.plan())

    def _told(self, which: int, row: Row, proposal: Proposal) -> Trie:
        """A proposal with the chances of the drafter's past: of nodes as deep, of which it was as sure where it says how sure."""
        guess = self._guesses.setdefault((row.id, which), Guess(self.rates))
        tree, rates = guess.renew(row.tokens), guess.rates
        for node, depth in enumerate(proposal.depths()):
            parent = proposal.parents[node]
            sure = dict(proposal.likely.get(parent, ())).get(proposal.tokens[node])
            kind = (which, min(depth, DEEP), None if sure is None else bin_of(sure))
            tree.step(parent, proposal.tokens[node], rates.of(kind), proposal.source[node], kind=kind)
        return tree


def grafted(drawn: Proposal, chosen: Proposal) -> Proposal:
    """A drawn tree, and behind its nodes those of a chosen one that it lacks."""
    tree, place = Trie(), {-1: -1}
    for token, parent, source in zip(drawn.tokens, drawn.parents, drawn.source, strict=True):
        tree.place(token, parent, 0.0, source)
    for node, (token, parent) in enumerate(zip(chosen.tokens, chosen.parents, strict=True)):
        place[node] = tree.step(place[parent], token, 0.0, chosen.source[node])
    flags = [*drawn.drawn, *[False] * (len(tree) - len(drawn))]
    return replace(drawn, tokens=tree.tokens, parents=tree.parents, drawn=flags, source=tree.sources)


def further(chosen: Sequence[Trie], room: int, drawn: Proposal, told: Trie, price: Price | None) -> Proposal:
    """Of what was chosen, at most `room` nodes that are worth scoring beside what is drawn (told: that with its chances). What
    chance there is that the text takes a node which is not drawn anyway is told by the law [V] behind the root, not by the draws.
    """
    tree = merged(chosen)
    if price is None:
        return tree.best(room)
    left, law = list[float](), drawn.distributions[-1]
    for token, parent in zip(tree.tokens, tree.parents, strict=True):
        left.append(1 - float(law[token]) if parent == -1 else left[parent])
    chances = [value * share for value, share in zip(tree.values, left, strict=True)]
    alone, cost = 1 + sum(told.values), 1 + price.nodes(len(drawn))
    tokens, taken, base = alone, list[int](), cost + price.branching
    for node in sorted(range(len(tree)), key=lambda node: (-chances[node], node))[:room]:
        more = 1 + price.nodes(len(drawn) + len(taken) + 1) + price.branching
        if not worthwhile(chances[node], more - base, tokens, base):
            break
        tokens, base = tokens + chances[node], more
        taken.append(node)
    return tree.proposal(taken if tokens / base > alone / cost else [])


def believed_of(kind: Hashable) -> float:
    """The chance of a node before any was seen."""
    assert isinstance(kind, tuple)
    return 0.5 if kind[2] is None else believed(kind[2])


def tiny(lm: Target) -> Merge:
    return Merge(("suffix:length=3,past=64,worth=0", "recycle:depth=2,nodes=4,worth=0"), worth=0.0)
