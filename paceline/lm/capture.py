"""What attention asked for: queries noted in forwards that run anyway, and how much of its attention each key got."""

from collections.abc import Sequence

import torch

__all__ = ["Trace", "before", "joined", "mass"]

BLOCK = 4096  # keys taken at once


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


def before(trace: Trace | None, length: int) -> Trace | None:
    """What was asked at positions below `length`; None where that is nothing."""
    if trace is None or not trace.positions or trace.positions[0] >= length:
        return None
    kept, count = Trace(), sum(p < length for p in trace.positions)
    kept.add([q[:, :count] for q in trace.queries], trace.positions[:count])
    return kept


def joined(earlier: Trace | None, later: Trace | None) -> Trace | None:
    """Both, where both are."""
    if earlier is None or later is None or not later.positions:
        return earlier or later
    earlier.add(later.queries, later.positions)
    return earlier


def mass(q: torch.Tensor, k: torch.Tensor, positions: Sequence[int]) -> torch.Tensor:
    """Attention that each of n keys gets in one layer, summed over the query heads that share its head and over queries.

    q [H, T, D], scaled. k [G, n, D]: keys at positions 0 to n - 1, of which a query sees those up to its own. Returns [G, n] in
    fp32. Block by block of keys, each put right once the whole log-sum-exp is known.
    """
    g, n = k.shape[:2]
    rows = q.float().unflatten(0, (g, -1)).flatten(1, 2)  # [G, H / G * T, D]
    last = torch.tensor(positions, dtype=torch.long, device=q.device).repeat(q.shape[0] // g)[:, None]

    def weights(start: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Softmax within a block, and the block's log-sum-exp."""
        part = k[:, start : start + BLOCK].float()
        scores = rows @ part.mT
        if start + part.shape[1] > lowest:
            scores.masked_fill_(torch.arange(start, start + part.shape[1], dtype=torch.long, device=q.device) > last, -torch.inf)
        whole = scores.logsumexp(-1, keepdim=True)
        return scores.sub_(whole.clamp_min(-1e30)).exp_(), whole

    lowest = min(positions) + 1
    shares, wholes = zip(*map(weights, range(0, n, BLOCK)), strict=True)
    total = torch.stack(wholes).logsumexp(0)
    return torch.cat([(part.mT @ (whole - total).exp())[..., 0] for part, whole in zip(shares, wholes, strict=True)], 1)
