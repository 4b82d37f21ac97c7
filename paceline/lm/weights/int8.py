"""Weights in int8 with a scale for each output: a quarter of fp32's bytes, for what need not be exact.

A drafting model's text is checked by its target, so rounding its weights costs hardly any acceptance and no exactness.
"""

import torch
from torch.nn.functional import linear

from paceline.lm.weights import Native
from paceline.lm.weights.layout import quantize_int8, tiles

__all__ = ["Int8"]

KERNEL = 2  # as compiled code numbers it


class Int8:
    """codes [out, in] in int8, scale [out] in fp32: the weight is their product; bias [out] or None."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        self.codes, self.scale = quantize_int8(weight)
        self.bias, self.shape, self.dtype = bias, (weight.shape[0], weight.shape[1]), weight.dtype

    @property
    def bytes(self) -> int:
        return self.codes.numel()

    @property
    def kernel(self) -> int | None:
        return KERNEL if self.codes.device.type == "cpu" else None

    def linear(self, x: torch.Tensor, add: torch.Tensor | None = None) -> torch.Tensor:
        out = linear(x, (self.codes.float() * self.scale[:, None]).to(x.dtype), self.bias)
        return out if add is None else out + add

    def native(self, gated: bool = False) -> Native | None:
        """In tiles of bytes."""
        if self.kernel is None:
            return None
        shape = (self.shape[0] // (1 + gated), self.shape[1])
        return Native(tiles(self.codes, gated), KERNEL, shape, gated, tiles(self.scale[:, None], gated), self.bias)
