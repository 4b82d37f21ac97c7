"""What a drafter proposes for one row: a token tree, and how each node came to stand there.

The pending token is the root and is not listed; node i hangs below `parents[i]`, -1 meaning the root. Invariant 3 of the
house: **a node is drawn or chosen**. Drawn means sampled from the law stored for its parent, given everything placed before
it (a second sibling drawn without replacement is drawn from the conditional law, which the rule derives by itself). Chosen
means anything else: n-gram, top-k, grammar, or drawn and then pruned, merged, sorted or kept because of a draw. Chosen is
always the safe declaration: it can only cost acceptance, never correctness.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from paceline.errors import ShapeError

__all__ = ["Proposal", "Verdict", "path_to"]


@dataclass(frozen=True)
class Proposal:
    """A token tree of N nodes for one row.

    tokens: N token ids. parents: N indices, `parents[i] < i`, -1 = root. drawn: N flags. source: N names of what proposed the
    node. distributions: parent index -> the drafter's law [V] after it, shared by siblings; needed where a child is drawn, and
    information otherwise. likely: parent index -> the likeliest tokens after it with their probabilities, likeliest first;
    information for whoever widens the tree.
    """

    tokens: Sequence[int] = ()
    parents: Sequence[int] = ()
    drawn: Sequence[bool] = ()
    source: Sequence[str] = ()
    distributions: dict[int, torch.Tensor] = field(default_factory=dict)
    likely: dict[int, Sequence[tuple[int, float]]] = field(default_factory=dict)

    @staticmethod
    def chain(tokens: Sequence[int], source: str, drawn: bool = False, distributions: Sequence[torch.Tensor] = ()) -> "Proposal":
        """A path of N nodes; `distributions[i]` is the law node i was taken from, so it belongs to parent i - 1."""
        n = len(tokens)
        return Proposal(tokens, range(-1, n - 1), [drawn] * n, [source] * n, {i - 1: law for i, law in enumerate(distributions)})

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def is_chain(self) -> bool:
        """True when every node hangs below the one before it."""
        return all(p == i - 1 for i, p in enumerate(self.parents))

    @property
    def all_chosen(self) -> bool:
        return not any(self.drawn)

    def children(self, node: int) -> list[int]:
        """Children of a node (-1 = root) in drawing order."""
        return [i for i, p in enumerate(self.parents) if p == node]

    def path(self, node: int) -> list[int]:
        """Nodes from below the root down to `node`; empty for the root."""
        return path_to(self.parents, node)

    def depths(self) -> list[int]:
        """Depth of every node; children of the root have depth 1."""
        out: list[int] = []
        for p in self.parents:
            out.append(1 if p == -1 else out[p] + 1)
        return out

    def chosen(self) -> "Proposal":
        """The same tree with every node declared chosen (`reproducible=True`)."""
        return self if self.all_chosen else replace(self, drawn=[False] * len(self))

    def clip(self, budget: int) -> "Proposal":
        """The first `budget` nodes; a cut by index depends on no draw, so declarations stay true."""
        if len(self) <= budget:
            return self
        distributions = {p: law for p, law in self.distributions.items() if p < budget}
        return Proposal(self.tokens[:budget], self.parents[:budget], self.drawn[:budget], self.source[:budget], distributions)

    def main_chain(self) -> "Proposal":
        """First children only, renumbered; which child comes first depends on no later draw."""
        if self.is_chain:
            return self
        nodes, node = [], -1
        while children := self.children(node):
            node = children[0]
            nodes.append(node)
        told, above = self.distributions, [self.parents[old] for old in nodes]
        distributions = {new - 1: told[parent] for new, parent in enumerate(above) if parent in told}
        tokens, drawn, source = [self.tokens[i] for i in nodes], [self.drawn[i] for i in nodes], [self.source[i] for i in nodes]
        return Proposal(tokens, range(-1, len(nodes) - 1), drawn, source, distributions)

    def check(self, vocab: int) -> None:
        """Raise ShapeError unless this is a tree over ids below `vocab` whose drawn nodes have their law."""
        n = len(self)
        if not n == len(self.parents) == len(self.drawn) == len(self.source):
            raise ShapeError(f"A proposal needs equal lengths; found {n} tokens, {len(self.parents)} parents, "
                             f"{len(self.drawn)} drawn, {len(self.source)} source.")
        for i, (token, parent) in enumerate(zip(self.tokens, self.parents, strict=True)):
            if not -1 <= parent < i:
                raise ShapeError(f"Node {i} names parent {parent}; a parent is -1 (the root) or an earlier node.")
            if not isinstance(token, int) or not 0 <= token < vocab:
                raise ShapeError(f"Node {i} is token {token}; ids run from 0 to {vocab - 1}.")
            if self.drawn[i] and parent not in self.distributions:
                raise ShapeError(f"Node {i} is declared drawn, but there is no law for its parent {parent}.")
        for parent, law in self.distributions.items():
            if law.shape != (vocab,):
                raise ShapeError(f"The law after node {parent} has shape {tuple(law.shape)}; expected ({vocab},).")
        for parent in {p for p, drawn in zip(self.parents, self.drawn, strict=True) if drawn}:
            law = self.distributions[parent]  # a comparison with nan is false, so this finds nan and negative entries alike
            if not bool((law >= 0).all()) or not abs(float(law.sum()) - 1.0) < 1e-3:
                raise ShapeError(f"The law after node {parent} is no probability law: entries must be 0 or more and add up to 1.")


@dataclass(frozen=True)
class Verdict:
    """What a rule decided: the accepted nodes from the root down, the bonus token, and what was spent (0 if lossless)."""

    path: Sequence[int]
    bonus_token: int
    spent: float = 0.0


def path_to(parents: Sequence[int], node: int) -> list[int]:
    """Nodes of a tree from below the root (-1) down to `node`; empty for the root. parents: of each node."""
    nodes = []
    while node != -1:
        nodes.append(node)
        node = parents[node]
    return nodes[::-1]
