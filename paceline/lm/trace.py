"""What attention asked for: queries noted in forwards that run anyway, and how much of its attention each key got."""

from collections.abc import Sequence

import torch

__all__ = ["Trace", "mass"]

BLOCK = 4096  # keys taken at once: no table of all queries against all keys exists


class Trace:
    """Queries of one row at some of its positions.

    queries: per layer [H, T, D], rotated as the keys are and multiplied by the layer's scale. positions: T of them, ascending.
    """

    def __init__(self) -> None:
        self.queries: list[torch.Tensor] = []
        self.positions: list[int] = []

    def add(self, queries: Sequence[torch.Tensor], positions: Sequence[int]) -> None:
        """Those of further positions, per layer [H, t, D]."""
        old = self.queries or [q[:, :0] for q in queries]
        self.queries = [torch.cat((a, b), 1) for a, b in zip(old, queries, strict=True)]
        self.positions += positions


def mass(q: torch.Tensor, k: torch.Tensor, positions: Sequence[int]) -> torch.Tensor:
    """Attention that each of n keys gets in one layer, summed over the query heads that share its head and over queries.

    q [H, T, D], scaled. k [G, n, D]: keys at positions 0 to n - 1, of which a query sees those up to its own. Returns [G, n] in
    fp32. Two passes over blocks of keys, first for the softmax's denominator, so memory is H x T x BLOCK at most.
    """
    g, n = k.shape[:2]
    rows = q.float().unflatten(0, (g, -1)).flatten(1, 2)  # [G, H / G * T, D]
    last = torch.tensor(positions, device=q.device).repeat(q.shape[0] // g)[:, None]

    def scores(start: int) -> torch.Tensor:
        part = k[:, start : start + BLOCK].float()
        hidden = torch.arange(start, start + part.shape[1], device=q.device) > last
        return (rows @ part.mT).masked_fill(hidden, -torch.inf)

    starts = range(0, n, BLOCK)
    total = torch.stack([scores(s).logsumexp(-1) for s in starts]).logsumexp(0)[..., None]
    return torch.cat([(scores(s) - total).exp().sum(1) for s in starts], 1)
