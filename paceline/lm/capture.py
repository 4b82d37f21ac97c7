"""How much of its attention each key gets, from what was asked for (`core/trace.py`)."""

from collections.abc import Sequence

import torch

__all__ = ["lazy_ratio", "mass"]

BLOCK = 4096  # keys taken at once


def lazy_ratio(q: torch.Tensor, k: torch.Tensor, positions: Sequence[int], sinks: int, recent: int) -> float:
    """Share of their attention that the queries give to the first `sinks` and the last `recent` of all keys, mean over heads and
    queries: how little a layer loses when it keeps no other keys.

    As in `mass`: q [H, w, D] of a text's last tokens, scaled; k [G, S, D]. A key in both sets counts once, one behind its query
    not at all, so the ratio is 1 where S <= sinks + recent. Source: LightTransfer (Zhang et al., arXiv 2410.13846), section
    3; the paper takes sinks 4, recent 1,020, w 32.
    """
    got = mass(q, k, positions).sum(0)
    kept = got[:sinks].sum() + got[max(sinks, len(got) - recent) :].sum()
    return float(kept) / (q.shape[0] * q.shape[1])


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
