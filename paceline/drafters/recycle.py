"""The likeliest followers that the target itself named when it last stood behind a token, as a tree (Token Recycling).

Source: Luo et al. 2024, Turning Trash into Treasure (arXiv 2408.08696): a table of eight followers for each token, written anew
by every forward for every token it saw, accepted or not; a fixed tree over the ranks. Departures: a token never seen has no
followers instead of eight times token 0; which nodes the tree has follows from how often each rank was right, learned as it
goes, and from their price, instead of one tree of 80 nodes for all.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from paceline.core.proposal import Proposal
from paceline.core.protocols import Target
from paceline.core.row import Row
from paceline.errors import SpecError
from paceline.lookup.guess import Guess
from paceline.lookup.rates import Rates
from paceline.lookup.trie import LEAST, Trie, price_of

__all__ = ["Recycle"]


@dataclass(frozen=True)
class Recycle:
    """depth: most tokens of a path. nodes: most nodes of the tree (the paper: 80; the engine's budget limits it further). worth:
    price of a drafted token as a share of a plain step; None = as measured, 0 = all that the budget allows.
    """

    depth: int = 6
    nodes: int = 80
    worth: float | None = None

    def __post_init__(self) -> None:
        if self.depth < 1 or self.nodes < 1 or not 0 <= (self.worth or 0) < 1:
            raise SpecError(f"recycle needs depth >= 1, nodes >= 1 and 0 <= worth < 1; found depth={self.depth}, "
                            f"nodes={self.nodes}, worth={self.worth}.")

    def attach(self, lm: Target) -> "Recycled":
        return Recycled(self, lm)


class Recycled:
    """The attached drafter: a table of followers for each tenant, rates of the ranks for each row."""

    captures, has_model, timed = ("topk_logits",), False, True

    def __init__(self, options: Recycle, lm: Target) -> None:
        self.options, self.lm = options, lm
        self.rates = Rates(believed)
        self.tables: dict[str, dict[int, list[int]]] = {}
        self._rows: dict[int, Guess] = {}

    def propose(self, rows: Sequence[Row], budgets: Sequence[int]) -> list[Proposal]:
        """A tree for each row, all nodes chosen."""
        price = price_of(self.lm, self.options.worth, rows)
        return [self.grown(row).best(min(budget, self.options.nodes), price) for row, budget in zip(rows, budgets, strict=True)]

    def forget(self, row: Row) -> None:
        self._rows.pop(row.id, None)

    def grown(self, row: Row) -> Trie:
        """The likeliest paths through the table, the best first."""
        table = self.tables.setdefault(row.request.tenant, {})
        note(table, row)
        guess = self._rows.get(row.id) or self._rows.setdefault(row.id, Guess(self.rates))
        tree = guess.renew(row.tokens)
        waiting = [(-1.0, -1, row.tokens[-1], 1)]
        while waiting and len(tree) < self.options.nodes:
            _, node, token, depth = heappop(waiting)
            for rank, follower in enumerate(table.get(token, ())):
                kind = (rank, depth > 1)
                after = tree.add([(follower, guess.rates.of(kind))], "recycle", node, LEAST, kind)
                if after != node and depth < self.options.depth:
                    heappush(waiting, (-tree.values[after], after, follower, depth + 1))
        return tree


def note(table: dict[int, list[int]], row: Row) -> None:
    """Write down the followers of every token of the last forward; of equal tokens the last counts."""
    if row.last is None or "topk_logits" not in row.last.captured:
        return
    pending = row.tokens[len(row.tokens) - row.last.committed - 1]
    for token, followers in zip([pending, *row.last.proposal.tokens], row.last.captured["topk_logits"], strict=False):
        table[token] = followers


def believed(kind: Hashable) -> float:
    """The chance of a rank before any was seen; the table is surer of what stands right behind the text."""
    assert isinstance(kind, tuple)
    rank, later = kind
    return (0.35 if later else 0.45) * 0.4**rank


def tiny(lm: Target) -> Recycle:
    return Recycle(depth=3, nodes=6, worth=0.0)
