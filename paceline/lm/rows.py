"""Softmax rows of attention, made once, block by block of queries: for those who look, and for attention's own output.

Nothing of size T x T exists: a block of rows sees the keys up to its own end.
"""

from collections.abc import Iterator

import torch

from paceline.lm.seen import Seen

__all__ = ["rows"]

BLOCK = 1 << 22  # probabilities in a block, at most: 16 MB
FEWEST, MOST = 8, 64  # rows: with fewer, products are slow; with more, scores leave the cache, and many are of keys not seen


def rows(seen: Seen) -> Iterator[tuple[int, torch.Tensor]]:
    """Yields (start, probs): probs fp32 [Hq, R, start + R], what the queries from `start` on give each key; the next block takes
    its place. A row sums to 1, or to less where the layer has sink logits.
    """
    (hq, t, d), g = seen.q.shape, seen.k.shape[0]
    count = min(t, MOST, max(FEWEST, BLOCK // (hq * t)))
    q, k = (seen.q.float() * seen.scale).unflatten(0, (g, -1)), seen.k.float()
    held = q.new_empty(hq * count * t)
    for start in range(0, t, count):
        stop = min(t, start + count)
        scores = held[: hq * (stop - start) * stop].view(g, -1, stop)
        torch.bmm(q[:, :, start:stop].reshape(g, -1, d), k[:, :stop].mT, out=scores)
        scores = hidden(seen, start, scores.view(hq, stop - start, stop))
        if seen.sinks is not None:
            scores = torch.cat((scores, seen.sinks.float()[:, None, None].expand(-1, stop - start, 1)), -1)
        yield start, torch.softmax(scores, -1, out=scores)[..., :stop]


def hidden(seen: Seen, start: int, scores: torch.Tensor) -> torch.Tensor:
    """Scores [Hq, R, start + R] of the queries from `start` on, capped, and -inf where a query does not look; in place."""
    count = scores.shape[1]
    if seen.cap is not None:
        scores.div_(seen.cap).tanh_().mul_(seen.cap)
    later = torch.ones((count, count), dtype=torch.bool, device=scores.device).triu_(1)
    scores[..., start:].masked_fill_(later, -torch.inf)
    if seen.window is not None and seen.window < start + count:
        last = torch.arange(start, start + count, dtype=torch.long, device=scores.device)[:, None] - seen.window
        scores.masked_fill_(torch.arange(start + count, dtype=torch.long, device=scores.device) <= last, -torch.inf)
    if seen.masked is not None:
        before = torch.ones_like(scores[0], dtype=torch.bool).tril_(start - 1)
        scores.masked_fill_(seen.masked[:, None, : start + count] & before, -torch.inf)
    return scores
