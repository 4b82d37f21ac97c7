"""The layout in which the fused forward reads a weight: tiles of 32 outputs, input by input, in bf16 where that loses nothing."""

from typing import NamedTuple

import torch
from torch.nn.functional import pad

__all__ = ["TILE", "Tiled", "compact", "tiles"]

TILE = 32  # outputs made together, as in fused.cpp


class Tiled(NamedTuple):
    """Weights in tiles: one [out, in], or gate and up in turn."""

    tiles: torch.Tensor
    shape: tuple[int, int]
    gated: bool

    def rows(self, start: int, stop: int, dtype: torch.dtype) -> torch.Tensor:
        """Rows of the weight as it was, gate before up."""
        halves = self.tiles.unbind(1) if self.gated else (self.tiles,)
        return torch.cat([untiled(half, self.shape) for half in halves])[start:stop].to(dtype)


def compact(weight: torch.Tensor) -> torch.Tensor:
    """The weight in bf16 where that loses nothing, as with a bf16 checkpoint loaded in fp32: half the bytes, the same numbers."""
    half = weight.detach().bfloat16()
    return half if torch.equal(half.to(weight.dtype), weight) else weight.detach()


def tiles(weight: torch.Tensor) -> torch.Tensor:
    """A weight [out, in] as [ceil(out / TILE), in, TILE], in bf16 [ceil(out / TILE), ceil(in / 2), TILE, 2]; gaps are zeros."""
    half = weight.dtype is torch.bfloat16
    whole = pad(weight.detach(), (0, half * (weight.shape[1] % 2), 0, -weight.shape[0] % TILE))
    tiled = whole.view(-1, TILE, whole.shape[1])
    return (tiled.view(*tiled.shape[:2], -1, 2).transpose(1, 2) if half else tiled.transpose(1, 2)).contiguous()


def untiled(tiled: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    """The weight of this shape from its tiles."""
    whole = tiled.transpose(1, 2).reshape(tiled.shape[0] * TILE, -1)
    return whole[: shape[0], : shape[1]]
