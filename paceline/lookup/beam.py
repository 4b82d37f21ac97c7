"""A tree of drafted tokens grown level by level, the likeliest paths first.

Every level keeps the `width` candidates with the highest path probability, whatever their parents (a beam), and nothing is thrown
away while drafting; at the end the likeliest nodes that a budget allows are taken. A node is never likelier than its parent, so
that choice always holds a node's ancestors. Source: Yang et al. 2025, LongSpec (arXiv 2502.17421), section 5, whose trees have
given widths per level; the final choice by path probability is from Li et al. 2024, EAGLE-2 (arXiv 2406.16858), section 4.2.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from paceline.lookup.trie import Trie

__all__ = ["Beam"]


@dataclass
class Beam:
    """A `Trie` whose values are the probabilities of paths. `front`: the nodes of the last level, [-1] at the start; their
    candidates are what `widen` takes.
    """

    tree: Trie = field(default_factory=Trie)
    front: list[int] = field(default_factory=lambda: [-1])

    def widen(self, candidates: Sequence[Sequence[tuple[int, float]]], width: int) -> None:
        """Add a level: for every node of `front` its (token, log-probability) candidates; the best `width` paths are kept."""
        reached = [
            ((1.0 if node == -1 else self.tree.values[node]) * math.exp(value), node, token)
            for node, following in zip(self.front, candidates, strict=True)
            for token, value in following
        ]
        reached.sort(key=lambda path: -path[0])  # stable: of equal paths the first parent's first candidate
        self.front = list(range(len(self.tree), len(self.tree) + min(width, len(reached))))
        for value, node, token in reached[:width]:
            self.tree.place(token, node, value)
