"""Several drafters' proposals in one tree, the best of them under one budget.

Every drafter is asked; nodes that two of them propose stand once. What a drafter's node is worth is learned as it goes, by
drafter and depth, from every node whose parent the text came to, drafted or not. The nodes' sources stay with them, so a run
shows who gave what. Meant for drafters that cost next to nothing, such as suffix, recycle and toolcall; nobody ships the like
(TensorRT-LLM's suffix automaton beside a trained head comes near).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from paceline import plugins
from paceline.errors import SpecError
from paceline.lookup.guess import Guess
from paceline.lookup.rates import Rates
from paceline.lookup.trie import Trie, price_of
from paceline.proposal import Proposal

__all__ = ["Merge"]

DEEP = 6  # depths beyond this are alike


@dataclass(frozen=True)
class Merge:
    """drafters: specs, with brackets around those that have options. worth: price of a drafted token as a share of a plain step;
    None = as measured, 0 = all that the budget allows.
    """

    drafters: tuple[Any, ...] = ("suffix", "recycle")
    worth: float | None = None

    def __post_init__(self) -> None:
        if not self.drafters or not 0 <= (self.worth or 0) < 1:
            raise SpecError(f"merge needs at least one drafter and 0 <= worth < 1; found drafters={self.drafters}, "
                            f"worth={self.worth}.")

    def attach(self, lm: Any) -> "Merged":
        made = [plugins.make("drafter", spec) for spec in self.drafters]
        return Merged(self, lm, [each.attach(lm) if hasattr(each, "attach") else each for each in made])


class Merged:
    """The attached drafter. Its own memory is how each drafter has done; they keep theirs."""

    def __init__(self, options: Merge, lm: Any, inner: Sequence[Any]) -> None:
        self.options, self.lm, self.inner = options, lm, inner
        self.reads = tuple({what for drafter in inner for what in getattr(drafter, "reads", ())})
        self.rates = Rates(lambda kind: 0.5)
        self._rows: dict[int, list[Guess]] = {}  # one for each drafter

    def propose(self, rows: Sequence[Any], budgets: Sequence[int]) -> list[Proposal]:
        """One tree for each row, all nodes chosen: whether they stand depends on what others proposed."""
        price = price_of(self.lm, self.options.worth, len(rows))
        everyone = [self._trees(which, drafter, rows, budgets) for which, drafter in enumerate(self.inner)]
        return [merged(trees).best(budget, price) for trees, budget in zip(zip(*everyone, strict=True), budgets, strict=True)]

    def forget(self, row: Any) -> None:
        self._rows.pop(row.id, None)
        for drafter in self.inner:
            drafter.forget(row)

    def _trees(self, which: int, drafter: Any, rows: Sequence[Any], budgets: Sequence[int]) -> list[Trie]:
        """What one drafter proposes, with chances: its own where it tells them (`grown`), else those of its past by depth."""
        if hasattr(drafter, "grown"):
            return [drafter.grown(row) for row in rows]
        return [self._told(which, row, p) for row, p in zip(rows, drafter.propose(rows, budgets), strict=True)]

    def _told(self, which: int, row: Any, proposal: Proposal) -> Trie:
        """A proposal with the chances of the drafter's past."""
        guesses = self._rows.get(row.id) or self._rows.setdefault(row.id, [Guess(self.rates) for _ in self.inner])
        tree, rates = guesses[which].renew(row.tokens), guesses[which].rates
        for node, depth in enumerate(proposal.depths()):
            kind = (which, min(depth, DEEP))
            tree.add([(proposal.tokens[node], rates.of(kind))], proposal.source[node], proposal.parents[node], kind=kind)
        return tree


def merged(trees: Sequence[Trie]) -> Trie:
    """All nodes in one tree; where several stand the highest chance counts."""
    whole = Trie()
    for tree in trees:
        place = {-1: -1}
        for node, parent in enumerate(tree.parents):
            chance = tree.values[node] / (tree.values[parent] if parent != -1 else 1.0)
            place[node] = whole.add([(tree.tokens[node], chance)], tree.sources[node], place[parent])
    return whole


def tiny(lm: Any) -> Merge:
    return Merge(("suffix:length=3,past=64,worth=0", "recycle:depth=2,nodes=4,worth=0"), worth=0.0)
