"""Weights as torch holds them: fp32, bf16 or fp16, row by row."""

from collections.abc import Sequence

import torch
from torch.nn.functional import linear

from paceline.lm.weights import Native
from paceline.lm.weights.layout import compact, tiles

__all__ = ["Dense", "joined"]

KERNELS = {torch.float32: 0, torch.bfloat16: 1}  # as compiled code numbers them


class Dense:
    """weight [out, in], bias [out] or None."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        self.weight, self.bias = weight, bias
        self.shape, self.dtype = (weight.shape[0], weight.shape[1]), weight.dtype

    @property
    def bytes(self) -> int:
        return self.weight.numel() * self.weight.element_size()

    @property
    def kernel(self) -> int | None:
        return KERNELS.get(self.dtype) if self.weight.device.type == "cpu" else None

    def linear(self, x: torch.Tensor, add: torch.Tensor | None = None) -> torch.Tensor:
        out = linear(x, self.weight, self.bias)
        return out if add is None else out + add

    def rows(self, ids: torch.Tensor) -> torch.Tensor:
        return self.weight[ids]

    def native(self, gated: bool = False) -> Native | None:
        """In tiles, in bf16 where that loses nothing."""
        if self.kernel is None:
            return None
        weight = compact(self.weight)
        shape = (self.shape[0] // (1 + gated), self.shape[1])
        return Native(tiles(weight, gated), KERNELS[weight.dtype], shape, gated, bias=self.bias)


def joined(weights: Sequence[torch.Tensor], biases: Sequence[torch.Tensor | None]) -> Dense:
    """Linears that share their input as one: weights [sum of outs, in], and a bias with zeros where one has none."""
    weight = torch.cat(list(weights)) if len(weights) > 1 else weights[0]
    if all(bias is None for bias in biases):
        return Dense(weight)
    return Dense(weight, torch.cat([w.new_zeros(len(w)) if b is None else b for w, b in zip(weights, biases, strict=True)]))
