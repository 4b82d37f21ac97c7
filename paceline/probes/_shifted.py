"""Attention of one layer under two shifts of all its positions, which rotary embeddings promise to be the same.

Queries and keys before their rotation are given; they are rotated in the precision asked for, and the attention compared in
blocks of rows, so that nothing of size T x T exists.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch

from paceline.lm.rotary import Rope

__all__ = ["PRECISIONS", "Difference", "Precision", "differences", "rotated"]

BLOCK = 1 << 20  # scores of a block of rows, over all heads


class Precision(NamedTuple):
    """In what angles, the rotation, and what goes into the dot product are computed; the dot product itself, and the softmax, add
    in fp32, as the fused kernels do.
    """

    angles: torch.dtype
    rotation: torch.dtype
    inputs: torch.dtype


FULL, HALF = torch.float32, torch.bfloat16
PRECISIONS = {
    "bf16": Precision(FULL, HALF, HALF),  # transformers: cosines and sines are rounded, too
    "fp32-rotation": Precision(FULL, FULL, HALF),  # the paper's
    "fp32": Precision(FULL, FULL, FULL),
    "bf16-angles": Precision(HALF, HALF, HALF),  # old code, where positions above 256 run together
}


def rotated(x: torch.Tensor, positions: torch.Tensor, rope: Rope, precision: Precision) -> torch.Tensor:
    """x [H, T, D], not rotated yet, as the dot product reads it at these positions [T]: in fp32, with what rounding has left."""
    angle = torch.outer(positions.to(precision.angles), rope.frequencies.to(precision.angles)).float()
    cos, sin = ((part * rope.scale).to(precision.rotation) for part in (angle.cos(), angle.sin()))
    a, b = x.to(precision.inputs).to(precision.rotation).chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1).to(precision.inputs).float()


class Difference(NamedTuple):
    """At a prefix of `length` tokens, by head: how far attention to each key has moved, mean over the queries that see it, [H,
    length]; how far the first key's scores have, mean over queries, [H]; attention to the first key, [H].
    """

    length: int
    keys: torch.Tensor
    logit: torch.Tensor
    sink: torch.Tensor


class Scores(NamedTuple):
    """What a layer makes of queries [H, T, D] and keys [G, T, D] of one text: their products times `scale`, capped, in a window."""

    scale: float
    window: int | None = None
    cap: float | None = None

    def __call__(self, q: torch.Tensor, k: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        """Of rows start to stop over keys 0 to stop, [H, R, stop]; -inf where a query does not see a key."""
        rows = q[:, start:stop].unflatten(0, (k.shape[0], -1)).flatten(1, 2)
        scores = (rows @ k[:, :stop].mT).mul_(self.scale).view(q.shape[0], stop - start, stop)
        if self.cap is not None:
            scores.div_(self.cap).tanh_().mul_(self.cap)
        ago = torch.arange(start, stop)[:, None] - torch.arange(stop)
        return scores.masked_fill_((ago < 0) | (ago >= (self.window or stop)), -torch.inf)


Heads = tuple[torch.Tensor, torch.Tensor]  # rotated queries [H, T, D] and keys [G, T, D]


def differences(one: Heads, other: Heads, scores: Scores, lengths: Sequence[int]) -> Iterator[Difference]:
    """Between two versions of a layer's queries and keys, at prefixes of these lengths, ascending. Attention is causal, so a
    prefix is what a shorter text would have given, and one pass makes all.
    """
    h, t = one[0].shape[0], lengths[-1]
    moved, logit, sink = torch.zeros(h, t), torch.zeros(h), torch.zeros(h)
    for start, stop in blocks(lengths, h):
        a, b = (scores(q, k, start, stop) for q, k in (one, other))
        logit += (a[..., 0] - b[..., 0]).nan_to_num_(0).abs_().sum(1)  # outside a window both are -inf
        a, b = a.softmax(-1), b.softmax(-1)
        sink += a[..., 0].sum(1)
        moved[:, :stop] += (a - b).abs_().sum(1)
        if stop in lengths:
            seen_by = torch.arange(stop, 0, -1).clamp_max(scores.window or stop)
            yield Difference(stop, moved[:, :stop] / seen_by, logit / seen_by[0], sink / stop)


def blocks(lengths: Sequence[int], heads: int) -> Iterator[tuple[int, int]]:
    """Rows start to stop, of which none reaches across one of the lengths."""
    start = 0
    for length in lengths:
        while start < length:
            stop = min(length, start + max(1, BLOCK // (heads * length)))
            yield start, stop
            start = stop
