"""Modules of a model whose weights a forward has taken over: made again, in the ordinary layout, when asked for."""

from typing import Any

import torch
from torch import nn
from torch.nn.functional import linear

from paceline.lm.weights import Native
from paceline.lm.weights.layout import untiled

__all__ = ["Restored", "rows_of"]


class Restored(nn.Module):
    """Stands where an `nn.Linear` stood: `weight` are rows of a stack in another layout, from `start` on.

    `state_dict`, and so `save_pretrained`, hold the ordinary weight [out, in]; the forward is the stock one, and slow.
    """

    def __init__(self, native: Native, start: int, dtype: torch.dtype, linear: nn.Linear) -> None:
        super().__init__()
        self.native, self.start, self.dtype = native, start, dtype
        self.in_features, self.out_features, self.bias = linear.in_features, linear.out_features, linear.bias

    @property
    def weight(self) -> torch.Tensor:
        return rows_of(self.native, self.start, self.start + self.out_features, self.dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return linear(x, self.weight, self.bias)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "weight"] = self.weight


def rows_of(native: Native, start: int, stop: int, dtype: torch.dtype) -> torch.Tensor:
    """Rows of a weight as it was, gate before up, from its tiles."""
    halves = native.tiles.unbind(1) if native.gated else (native.tiles,)
    return torch.cat([untiled(half, native.shape) for half in halves])[start:stop].to(dtype)
