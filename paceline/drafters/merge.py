"""Several drafters' proposals in one tree, the best of them under one budget.

Nodes that two drafters propose stand once. What a node is worth is learned as it goes, by drafter, depth and how sure the
drafter was, from every node whose parent the text came to, drafted or not. The nodes' sources stay with them, so a run shows who
gave what.

Drafters that cost next to nothing (suffix, recycle, toolcall) are asked always. One with a model is asked where that has paid,
by kind of text and by how much the others expect of what they have (`_dear.py`). Nobody ships the like (TensorRT-LLM's suffix
automaton beside a trained head comes near).
"""

import time
from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from paceline import plugins
from paceline.core.proposal import Proposal
from paceline.drafters._dear import Asked, Dear, Row
from paceline.drafters._graft import further, grafted, merged
from paceline.drafters._pace import Pace, Paced
from paceline.errors import SpecError
from paceline.lookup.acceptance import believed, bin_of
from paceline.lookup.guess import Guess
from paceline.lookup.kinds import Kinds
from paceline.lookup.rates import Rates
from paceline.lookup.trie import Price, Trie, price_of

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

    def attach(self, lm: Any) -> "Merged":
        """Drafters that are attached already stay whose they are: that a row has ended is not told to them from here."""
        made = [plugins.make("drafter", spec) for spec in self.drafters]
        own = [hasattr(each, "attach") for each in made]
        return Merged(self, lm, [each.attach(lm) if ours else each for each, ours in zip(made, own, strict=True)], own)


@dataclass
class Known:
    """Of a row: what each drafter thought of its text, what asking those with a model was worth for it, and its pace."""

    guesses: list[Guess]
    asked: dict[int, Row]
    pace: Paced


@dataclass
class Draft:
    """One row's tree in the making. trees: of all drafters; chosen: of those that drew nothing; drawn: what one drew, and
    the same with chances. nodes: the best of all, where that is known; tokens, cost: what it promises, and in how many plain
    steps.
    """

    row: Any
    known: Known
    budget: int
    trees: list[Trie] = field(default_factory=list)
    chosen: list[Trie] = field(default_factory=list)
    drawn: tuple[Proposal, Trie] | None = None
    nodes: list[int] | None = None
    tokens: float = 1.0
    cost: float = 1.0

    @property
    def size(self) -> int:
        """About what is expected already."""
        return int(self.tokens).bit_length()

    @property
    def best(self) -> tuple[Trie, list[int]]:
        """The best of all nodes, in their tree, once they are chosen."""
        assert self.nodes is not None
        return self.trees[0], self.nodes

    def add(self, tree: Trie, proposal: Proposal | None = None) -> None:
        """What one drafter proposes; of several that draw the first alone counts."""
        self.trees.append(tree)
        if proposal is None or proposal.all_chosen:
            self.chosen.append(tree)
        elif self.drawn is None:
            self.drawn = proposal, tree


class Merged:
    """The attached drafter. Its own memory is how each drafter has done; they keep theirs. It counts as one without a model: it
    asks those that have one only where that pays.
    """

    free = True

    def __init__(self, options: Merge, lm: Any, inner: Sequence[Any], own: Sequence[bool]) -> None:
        self.options, self.lm, self.inner, self.own = options, lm, inner, own
        self.captures = tuple({what for drafter in inner for what in getattr(drafter, "captures", ())})
        self.dear = {which: Dear() for which, drafter in enumerate(inner) if options.worth is None
                     and not hasattr(drafter, "grown") and not getattr(drafter, "free", False)}
        self.kinds, every = Kinds(), Rates(believed_of)
        self.rates = defaultdict[int, Rates](lambda: Rates(pool=every))  # by kind of text
        self.paces = defaultdict[int, Pace](Pace)
        self.spent = 0.0  # plain steps of all rounds
        self._rows: dict[int, Known] = {}

    def propose(self, rows: Sequence[Any], budgets: Sequence[int]) -> list[Proposal]:
        """One tree for each row, its nodes chosen: whether they stand depends on what others proposed. Under sampling all that a
        model drew stands, drawn, and beside it what was chosen without looking at that.
        """
        price = price_of(self.lm, self.options.worth, len(rows))
        drafts = [Draft(row, self._known(row), budget) for row, budget in zip(rows, budgets, strict=True)]
        if self.dear:
            now, plain = time.perf_counter(), self.lm.costs.seconds(len(rows))
            steps = [draft.known.pace.begin(now, len(draft.row.tokens), plain) for draft in drafts]
            self.spent += sum(steps) / max(1, len(steps))
        for which in range(len(self.inner)):
            if which not in self.dear:
                self._ask(which, drafts)
        for which in self.dear:
            self._ask_if_it_pays(which, drafts, price)
        return [self._best(draft, price) for draft in drafts]

    def forget(self, row: Any) -> None:
        known = self._rows.pop(row.id, None)
        ended = row.finish_reason is not None  # what fails in the midst of a text leaves its last questions unanswered
        for which, asked in known.asked.items() if known is not None and ended else ():
            self.dear[which].forget(asked, row.tokens)
        for drafter, own in zip(self.inner, self.own, strict=True):
            if own or not ended:  # what has failed may be half written, whose ever it is
                drafter.forget(row)

    def _ask(self, which: int, drafts: Sequence[Draft]) -> None:
        """Add one drafter's trees, with chances: its own where it tells them (`grown`), else those of its past."""
        drafter = self.inner[which]
        if hasattr(drafter, "grown"):
            for draft in drafts:
                draft.add(drafter.grown(draft.row))
            return
        found = drafter.propose([draft.row for draft in drafts], [draft.budget for draft in drafts])
        for draft, proposal in zip(drafts, found, strict=True):
            draft.add(self._told(which, draft, proposal), proposal)

    def _ask_if_it_pays(self, which: int, drafts: Sequence[Draft], price: Price | None) -> None:
        """Ask one with a model for those rows in which that has paid where as much was expected without it; for others as far as
        that costs little.
        """
        assert price is not None  # with a price given, none is dear
        dear = self.dear[which]
        for draft in drafts:
            dear.settle(draft.known.asked[which], draft.row.tokens)
            self._weigh(draft, price)
        asked = [draft for draft in drafts
                 if dear.pays(draft.known.asked[which], draft.size, draft.known.pace.own.rate, self.spent)]
        if not asked:
            return
        before, start = [(draft.size, draft.tokens, draft.cost, draft.best) for draft in asked], time.perf_counter()
        self._ask(which, asked)
        steps = (time.perf_counter() - start) / self.lm.costs.seconds(len(drafts))
        for draft, (size, tokens, cost, without) in zip(asked, before, strict=True):
            self._weigh(draft, price)
            question = Asked(len(draft.row.tokens), size, without, draft.best, draft.tokens - tokens, draft.cost - cost)
            dear.enter(draft.known.asked[which], steps, question, draft.known.pace.own.rate)

    def _known(self, row: Any) -> Known:
        """What is known of a row; the first time it is seen it is told what kind of text it is, where that matters."""
        known = self._rows.get(row.id)
        if known is None:
            kind = self.kinds.of(row.tokens) if self.dear else 0
            guesses, asked = [Guess(self.rates[kind]) for _ in self.inner], {which: Row(kind) for which in self.dear}
            known = self._rows[row.id] = Known(guesses, asked, Paced(self.paces[kind]))
        return known

    def _weigh(self, draft: Draft, price: Price | None) -> None:
        """Choose the best of what there is so far."""
        tree = draft.trees[0] if len(draft.trees) == 1 else merged(draft.trees)
        draft.trees, draft.nodes = [tree], tree.choose(draft.budget, price)
        if price is not None:
            draft.tokens, draft.cost = tree.expects(draft.nodes, price)

    def _best(self, draft: Draft, price: Price | None) -> Proposal:
        if draft.nodes is None:
            self._weigh(draft, price)
        assert draft.nodes is not None
        if draft.drawn is None:
            return draft.trees[0].proposal(draft.nodes)
        drawn, told = draft.drawn
        return grafted(drawn, further(draft.chosen, draft.budget - len(drawn), drawn, told, price))

    def _told(self, which: int, draft: Draft, proposal: Proposal) -> Trie:
        """A proposal with the chances of the drafter's past: of nodes as deep, of which it was as sure where it says how sure."""
        guess = draft.known.guesses[which]
        tree, rates = guess.renew(draft.row.tokens), guess.rates
        for node, depth in enumerate(proposal.depths()):
            parent = proposal.parents[node]
            sure = dict(proposal.likely.get(parent, ())).get(proposal.tokens[node])
            kind = (which, min(depth, DEEP), None if sure is None else bin_of(sure))
            tree.step(parent, proposal.tokens[node], rates.of(kind), proposal.source[node], kind=kind)
        return tree


def believed_of(kind: Hashable) -> float:
    """The chance of a node before any was seen."""
    assert isinstance(kind, tuple)
    return 0.5 if kind[2] is None else believed(kind[2])


def tiny(lm: Any) -> Merge:
    return Merge(("suffix:length=3,past=64,worth=0", "recycle:depth=2,nodes=4,worth=0"), worth=0.0)
