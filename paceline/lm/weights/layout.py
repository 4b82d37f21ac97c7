"""The layout in which the fused forward reads a weight: tiles of 32 outputs, input by input, in bf16 where that loses nothing."""

import torch
from torch.nn.functional import pad

__all__ = ["TILE", "compact", "quantize_int8", "tiles", "untiled"]

TILE = 32  # outputs made together, as in gemm.h
PART = 1 << 16  # weights compared at once


def compact(weight: torch.Tensor) -> torch.Tensor:
    """The weight in bf16 where that loses nothing, as with a bf16 checkpoint loaded in fp32: half the bytes, the same numbers.

    An fp32 number is one of bf16's where its lower half of bits is zero. Looked at part by part: parts stay in the cache, and
    where bf16 does not do, the first one tells.
    """
    weight = weight.detach()
    if weight.dtype is not torch.float32:
        return weight
    parts = weight.split(max(1, PART // weight.shape[1]))
    return weight if any((part.view(torch.int32) & 0xFFFF).any() for part in parts) else weight.bfloat16()


def quantize_int8(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The weight in int8, [out, in], and its scale [out]: an output's weights are whole multiples of that, at most 127.

    A quarter of fp32's bytes for what need not be exact: a drafting model's text is checked by its target.
    """
    scale = weight.detach().float().abs().amax(1).clamp_min(1e-12) / 127
    return (weight.detach().float() / scale[:, None]).round().to(torch.int8), scale


def tiles(weight: torch.Tensor, gated: bool = False) -> torch.Tensor:
    """A weight [out, in] as [ceil(out / TILE), in, TILE]; in bf16 […, ceil(in / 2), TILE, 2], in int8 […, ceil(in / 4), TILE, 4];
    gaps are zeros. gated: tiles of its upper and its lower half in turn, along a second axis.
    """
    halves = [in_order(half) for half in weight.chunk(2)] if gated else [in_order(weight)]
    return torch.stack(halves, 1) if gated else halves[0].clone(memory_format=torch.contiguous_format)


def in_order(weight: torch.Tensor) -> torch.Tensor:
    """A view of the weight with its axes in the order of tiles; a copy only where there are gaps to fill."""
    side, weight = 4 // weight.element_size(), weight.detach()
    gaps = (0, -weight.shape[1] % side, 0, -weight.shape[0] % TILE)
    whole = pad(weight, gaps) if any(gaps) else weight
    tiled = whole.reshape(-1, TILE, whole.shape[1])
    return tiled.unflatten(2, (-1, side)).transpose(1, 2) if side > 1 else tiled.transpose(1, 2)


def untiled(tiled: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """The weight of this shape from its tiles."""
    whole = tiled.transpose(1, 2).reshape(tiled.shape[0] * TILE, -1)
    return whole[: shape[0], : shape[1]]
