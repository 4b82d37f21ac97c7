"""What attention asked for: queries noted in forwards that run anyway. Plain data."""

from collections.abc import Sequence

import torch

__all__ = ["Trace"]


class Trace:
    """Queries of one row at some of its positions.

    queries: per layer [H, T, D], rotated as the keys are and multiplied by the layer's scale. positions: T of them, ascending.
    """

    def __init__(self) -> None:
        self.queries: list[torch.Tensor] = []
        self.positions: list[int] = []

    def add(self, queries: Sequence[torch.Tensor], positions: Sequence[int]) -> None:
        """Those of further positions, per layer [H, t, D]."""
        if not positions:
            return
        old = self.queries or [q[:, :0] for q in queries]
        self.queries = [torch.cat((a, b), 1) for a, b in zip(old, queries, strict=True)]
        self.positions += positions

    def before(self, length: int) -> "Trace":
        """What was asked at positions below `length`; nothing else is shared."""
        kept, count = Trace(), sum(p < length for p in self.positions)
        kept.add([q[:, :count] for q in self.queries], self.positions[:count])
        return kept
