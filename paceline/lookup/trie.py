"""A tree of candidate tokens, and the part of it that is worth scoring.

Candidates from anywhere are merged by common beginnings. Every node has a value: the chance that the target's text goes through
it. A node is never likelier than its parent, so the most valuable nodes, whatever their number, are a tree again, and the best
number is that with the most tokens for each plain step, the price of the nodes included. Source of the selection: Li et al. 2024,
EAGLE-2 (arXiv 2406.16858), section 4.2; the price is ours.
"""

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from paceline.core.proposal import Proposal, path_to
from paceline.core.protocols import Target
from paceline.core.row import Row

__all__ = ["LEAST", "Price", "Trie", "merged", "price_of"]

LEAST = 0.03  # a node less likely than this is not worth a look


@dataclass(frozen=True)
class Price:
    """What scoring costs, as shares of a plain step: `nodes(n)` of n drafted tokens together, and `branching` once where they are
    no chain.
    """

    nodes: Callable[[int], float]
    branching: float = 0.0


def price_of(lm: Target, worth: float | None, rows: Sequence[Row]) -> Price | None:
    """What drafted tokens cost this model, as measured for so many rows of such lengths; or `worth` for each of them, 0 = nothing
    (None).
    """
    if worth is None:
        longest = max((len(row.tokens) for row in rows), default=0)
        return Price(lambda nodes: lm.costs.extra(nodes, len(rows), longest), lm.costs.branching)
    return Price(lambda nodes: worth * nodes) if worth else None


class Trie:
    """Nodes in the order of their making; -1 is the root. `kinds`: what each node was proposed on, for whoever learns from it."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.parents: list[int] = []
        self.values: list[float] = []
        self.sources: list[str] = []
        self.kinds: list[Hashable] = []
        self.child: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return len(self.tokens)

    def add(self, candidate: Iterable[tuple[int, float]], source: str, at: int = -1, least: float = 0.0,
            kind: Hashable = None) -> int:
        """Add a path below a node: (token, chance that it comes, given that what is before it does). Returns its last node.

        Where a node stands already the higher value stays. The path ends where its value falls below `least`.
        """
        for token, chance in candidate:
            after = self.step(at, token, chance, source, least, kind)
            if after == at:
                break
            at = after
        return at

    def step(self, at: int, token: int, chance: float, source: str, least: float = 0.0, kind: Hashable = None) -> int:
        """`add` of one token: the node, or where its value would fall below `least` the one that it would hang from."""
        value = min(1.0, chance) if at == -1 else self.values[at] * min(1.0, chance)
        if value < least:
            return at
        found = self.child.get((at, token))
        if found is None:
            return self.place(token, at, value, source, kind)
        if value > self.values[found]:
            self.values[found], self.sources[found], self.kinds[found] = value, source, kind
        return found

    def place(self, token: int, parent: int, value: float, source: str = "", kind: Hashable = None) -> int:
        """Add one node that does not stand yet."""
        new = self.child[parent, token] = len(self.tokens)
        self.tokens.append(token)
        self.parents.append(parent)
        self.values.append(value)
        self.sources.append(source)
        self.kinds.append(kind)
        return new

    def judged(self, text: Sequence[int]) -> Iterator[tuple[int, bool]]:
        """(node, whether the text took it) of every node below a place that the text came to."""
        below: dict[int, list[int]] = {}
        for i, parent in enumerate(self.parents):
            below.setdefault(parent, []).append(i)
        node = -1
        for token in text:
            for child in below.get(node, ()):
                yield child, self.tokens[child] == token
            found = self.child.get((node, token))
            if found is None:
                return
            node = found

    def taken(self, nodes: Sequence[int], text: Sequence[int]) -> int:
        """How many of these nodes, which hold their parents, a text goes through."""
        among, node = set(nodes), -1
        for depth, token in enumerate(text):
            node = self.child.get((node, token), -1)
            if node not in among:
                return depth
        return len(text)

    def best(self, budget: int, price: Price | None = None) -> Proposal:
        """The most valuable nodes, at most `budget`, all chosen: the main chain, then the branches, parents before children.

        With a price, as many as give the most tokens a step, and a chain where branches do not make up for their cost.
        """
        return self.proposal(self.choose(budget, price))

    def choose(self, budget: int, price: Price | None = None) -> list[int]:
        """The nodes of `best`: the most valuable ones, or the best path where that gives more tokens a step."""
        end, alone = (-1, 0.0) if price is None else self._path(budget, price)
        if price is not None and all(parent == node - 1 for node, parent in enumerate(self.parents)):
            return self.path(end)
        ranked = sorted(range(len(self)), key=lambda i: (-self.values[i], i))[:budget]  # parents are made first
        if price is None:
            return ranked
        most, best, total = 1.0, 0, 1.0
        for n, node in enumerate(ranked, 1):
            total += self.values[node]
            if (rate := total / (1 + price.nodes(n) + price.branching)) > most:
                most, best = rate, n
        return self.path(end) if alone >= most else ranked[:best]

    def _path(self, budget: int, price: Price) -> tuple[int, float]:
        """(last node, tokens a step) of the path from the root that gives most."""
        sums, depths, end, most = [0.0] * len(self), [0] * len(self), -1, 1.0
        costs = [1.0]  # of a round, by depth
        for node, (parent, value) in enumerate(zip(self.parents, self.values, strict=True)):
            above, depth = (1.0, 0) if parent == -1 else (sums[parent], depths[parent])
            sums[node], depths[node] = above + value, depth + 1
            if depth >= budget:
                continue
            if depth + 1 == len(costs):
                costs.append(1.0 + price.nodes(depth + 1))
            if (rate := sums[node] / costs[depth + 1]) > most:
                end, most = node, rate
        return end, most

    def expects(self, nodes: Sequence[int], price: Price) -> tuple[float, float]:
        """Tokens of a round that scores these nodes, the bonus token included, and what it costs in plain steps."""
        parents, cost = [self.parents[node] for node in nodes], 1 + price.nodes(len(nodes))
        if parents != [-1, *nodes][: len(nodes)]:
            cost += price.branching
        return 1 + sum([self.values[node] for node in nodes]), cost

    def path(self, node: int) -> list[int]:
        """Nodes from below the root down to `node`."""
        return path_to(self.parents, node)

    def main(self, allowed: set[int]) -> list[int]:
        """From the root down, always to the most valuable child; of equal ones to the first."""
        following: dict[int, int] = {}
        for i in sorted(allowed):
            parent = self.parents[i]
            if parent not in following or self.values[i] > self.values[following[parent]]:
                following[parent] = i
        nodes, node = [], -1
        while node in following:
            node = following[node]
            nodes.append(node)
        return nodes

    def proposal(self, nodes: Iterable[int]) -> Proposal:
        """These nodes, which hold their parents, as a proposal."""
        allowed = set(nodes)
        order = self.main(allowed)
        order += sorted(allowed.difference(order), key=lambda i: (-self.values[i], i))
        place = {-1: -1} | {node: i for i, node in enumerate(order)}
        return Proposal([self.tokens[i] for i in order], [place[self.parents[i]] for i in order], [False] * len(order),
                        [self.sources[i] for i in order])


def merged(trees: Sequence[Trie]) -> Trie:
    """All nodes in one tree, in which each follows the one before it with the highest chance that any tree gives it."""
    if len(trees) == 1:
        return trees[0]
    whole = Trie()  # its values are these chances, until all are known
    for tree in trees:
        place = {-1: -1}
        for node, (parent, token) in enumerate(zip(tree.parents, tree.tokens, strict=True)):
            chance = tree.values[node] / (tree.values[parent] if parent != -1 else 1.0)
            found = whole.child.get((place[parent], token))
            if found is None:
                found = whole.place(token, place[parent], chance, tree.sources[node])
            elif chance > whole.values[found]:
                whole.values[found], whole.sources[found] = chance, tree.sources[node]
            place[node] = found
    for node, parent in enumerate(whole.parents):
        if parent != -1:
            whole.values[node] *= whole.values[parent]
    return whole
