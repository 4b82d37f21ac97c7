"""A tree of drafted tokens grown level by level, the likeliest paths first.

Every level keeps the `width` candidates with the highest path probability, whatever their parents (a beam), and nothing is thrown
away while drafting; at the end the likeliest nodes that a budget allows are taken. A node is never likelier than its parent, so
that choice always holds a node's ancestors. Source: Yang et al. 2025, LongSpec (arXiv 2502.17421), section 5, whose trees have
given widths per level; the final choice by path probability is from Li et al. 2024, EAGLE-2 (arXiv 2406.16858), section 4.2.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Beam"]


@dataclass
class Beam:
    """Nodes in order of their making: `tokens`, `parents` (-1 = root) and `values`, the log-probabilities of their paths.

    `front`: the nodes of the last level, [-1] at the start; their candidates are what `widen` takes.
    """

    tokens: list[int] = field(default_factory=list)
    parents: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    front: list[int] = field(default_factory=lambda: [-1])

    def widen(self, candidates: Sequence[Sequence[tuple[int, float]]], width: int) -> None:
        """Add a level: for every node of `front` its (token, log-probability) candidates; the best `width` paths are kept."""
        reached = [
            (value + (0.0 if node == -1 else self.values[node]), node, token)
            for node, following in zip(self.front, candidates, strict=True)
            for token, value in following
        ]
        reached.sort(key=lambda path: -path[0])  # stable: of equal paths the first parent's first candidate
        self.front = list(range(len(self.tokens), len(self.tokens) + min(width, len(reached))))
        for value, node, token in reached[:width]:
            self.tokens.append(token)
            self.parents.append(node)
            self.values.append(value)

    def best(self, budget: int) -> tuple[list[int], list[int]]:
        """Tokens and parents of the `budget` likeliest nodes, parents first."""
        chosen = sorted(sorted(range(len(self.tokens)), key=lambda i: (-self.values[i], i))[:budget])
        place = {node: i for i, node in enumerate(chosen)} | {-1: -1}
        return [self.tokens[i] for i in chosen], [place[self.parents[i]] for i in chosen]
