"""Rotary positions as tables, made by the model's own module and grown as texts get longer."""

from collections.abc import Sequence
from typing import Any

import torch

__all__ = ["Rotary", "rotate"]


class Rotary:
    """Cosines and sines [length, D] in the dtype and on the device of `like`; the sine carries the sign of the half-rotation.

    module: transformers' rotary embedding of the model, whatever its scaling. context: positions stay below it, since some
    embeddings change beyond.
    """

    def __init__(self, module: Any, context: int, like: torch.Tensor) -> None:
        self.module, self.context, self.like = module, context, like
        self.cos = self.sin = like.new_zeros((0, 0))
        self.reach(min(1024, context))

    def reach(self, length: int) -> None:
        """Make the tables at least this long."""
        if length <= len(self.cos):
            return
        length = min(max(length, 2 * len(self.cos)), self.context)
        cos, sin = self.module(self.like.new_zeros((1, 1)), torch.arange(length, dtype=torch.long, device=self.like.device)[None])
        sin = sin[0].to(self.like.dtype, copy=True)
        sin[:, : sin.shape[1] // 2].neg_()
        self.cos, self.sin = cos[0].to(self.like.dtype).contiguous(), sin.contiguous()

    def at(self, positions: slice | Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine and sine rows [M, 1, D] at these positions; views where they are a slice."""
        rows: Any = positions
        if isinstance(positions, slice):
            self.reach(positions.stop)
        else:
            self.reach(max(positions) + 1)
            rows = torch.tensor(positions, dtype=torch.long, device=self.like.device)
        return self.cos[rows, None], self.sin[rows, None]


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """Heads [M, H, D] rotated to their positions."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)
