"""How much of its attention each key gets, from what was asked for (`core/trace.py`)."""

from collections.abc import Sequence
from itertools import pairwise

import torch

from paceline.patterns.sliding import Sliding

__all__ = ["lazy_ratio", "mass"]

BLOCK = 4096  # keys taken at once


def lazy_ratio(q: torch.Tensor, k: torch.Tensor, positions: Sequence[int], sinks: int, recent: int, window: int | None = None,
               cap: float | None = None) -> float:
    """Share of their attention that queries give to the first `sinks` keys and to the `recent` last ones that each sees, itself
    included; mean over heads and queries. It is what a layer keeps of its attention when it is streaming.

    As in `mass`: q [H, w, D] of a text's last tokens, scaled; k [G, n, D]. A key that is both counts once, and none behind its
    query, so the ratio is 1 where n <= sinks + recent. window, cap: the layer's own, where it has them. Source: LightTransfer
    (Zhang et al., arXiv 2410.13846), section 3, with sinks 4, recent 1,020 and w 32. Departure: the paper counts the text's
    `recent` last keys, of which the first of the w queries sees w - 1 fewer than a streaming layer would keep for it.
    """
    rows = q.float().unflatten(0, (k.shape[0], -1)).flatten(1, 2)  # [G, H / G * w, D]
    last = torch.tensor(positions, dtype=torch.long, device=q.device).repeat(q.shape[0] // k.shape[0])[:, None]
    own, streaming, n, first = Sliding(window or k.shape[1]), Sliding(recent, sinks), k.shape[1], min(positions)
    near = min(max(first + 1 - recent, sinks), n - 1)  # what stands before it is in no query's window
    whole, kept = [], []
    for start, stop in pairwise(sorted({0, *range(min(sinks, n), near, BLOCK), *range(near, n, BLOCK), n})):
        scores = rows @ k[:, start:stop].float().mT
        scores = scores if cap is None else cap * (scores / cap).tanh()
        keys = torch.arange(start, stop, dtype=torch.long, device=q.device)
        if window is not None or stop > first:
            scores.masked_fill_(~own.visible(last, keys), -torch.inf)
        whole.append(scores.logsumexp(-1))
        if start < sinks or start >= near:
            kept.append(scores.masked_fill_(~streaming.visible(last, keys), -torch.inf).logsumexp(-1))
    return float((torch.stack(kept).logsumexp(0) - torch.stack(whole).logsumexp(0)).exp().mean())


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
