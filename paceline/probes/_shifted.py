"""Attention of one layer under two shifts of all its positions, which rotary embeddings promise to be the same.

Queries and keys before their rotation are rotated in the precision asked for, and the attention compared in blocks of rows, so
that nothing of size T x T exists.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch

from paceline.lm.rotary import Rope
from paceline.lm.rows import rows
from paceline.lm.seen import Seen

__all__ = ["PRECISIONS", "Difference", "differences", "shifted", "still"]


class Precision(NamedTuple):
    """In what angles, the rotation, and what goes into the dot product are computed; the dot product itself, and the softmax, add
    in fp32, as fused kernels do.
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
    angles = (positions.to(precision.angles)[:, None] * rope.frequencies.to(precision.angles)).float()
    cos, sin = ((part * rope.scale).to(precision.rotation) for part in (angles.cos(), angles.sin()))
    x = x.to(precision.inputs).float()
    pairs = rope.pairs(x)
    a, b = pairs.real.to(precision.rotation), pairs.imag.to(precision.rotation)
    turned = (part.to(precision.inputs).float() for part in (a * cos - b * sin, b * cos + a * sin))
    return rope.placed(torch.complex(*turned), x)


def still(seen: Seen) -> Seen:
    """A layer before its rotation, which is not None."""
    assert seen.rope is not None
    q, k = (seen.rope.unrotate(x.float(), seen.positions) for x in (seen.q, seen.k))
    return replace(seen, q=q, k=k)


def shifted(seen: Seen, shift: int, precision: Precision) -> Seen:
    """A layer that is `still`, as it would have been with all positions later by `shift`, for the same input."""
    assert seen.rope is not None
    places = seen.positions + shift
    q, k = (rotated(x, places, seen.rope, precision) for x in (seen.q, seen.k))
    return replace(seen, q=q, k=k, positions=places)


class Difference(NamedTuple):
    """At a prefix of `length` tokens, by head: how far attention to each key has moved, mean over the queries that see it, [H,
    length]; how far the first key's scores have, mean over queries, [H]; mean attention to the first key, [H].
    """

    length: int
    keys: torch.Tensor
    logit: torch.Tensor
    sink: torch.Tensor


def differences(one: Seen, other: Seen, lengths: Sequence[int]) -> Iterator[Difference]:
    """Between two versions of a layer, at prefixes of these lengths, ascending. Attention is causal, so a prefix is what a
    shorter text would have given, and one pass makes all.
    """
    one, other = (replace(x, q=x.q[:, : lengths[-1]], k=x.k[:, : lengths[-1]]) for x in (one, other))
    heads, t = one.q.shape[:2]
    logit = (first_scores(one) - first_scores(other)).abs()
    moved, sink = logit.new_zeros(heads, t), logit.new_zeros(heads)
    for (start, a), (_, b) in zip(rows(one), rows(other), strict=True):
        first = a[..., 0].clone()
        delta, stop = a.sub_(b).abs_(), a.shape[-1]
        for length in (n for n in lengths if start < n <= stop):
            seen_by = torch.arange(length, 0, -1, device=a.device).clamp_max(one.window or length)
            keys = moved[:, :length] + delta[:, : length - start, :length].sum(1)
            share = (sink + first[:, : length - start].sum(1)) / length
            yield Difference(length, keys / seen_by, logit[:, : seen_by[0]].mean(1), share)
        moved[:, :stop] += delta.sum(1)
        sink += first.sum(1)


def first_scores(seen: Seen) -> torch.Tensor:
    """Of every query and the first key, [H, T]."""
    scores = (seen.q.float() * seen.scale * seen.k[:, :1].float().repeat_interleave(seen.groups, 0)).sum(-1)
    return scores if seen.cap is None else seen.cap * (scores / seen.cap).tanh()
