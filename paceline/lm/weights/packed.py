"""Weights packed once into the layout the CPU's matrix kernel reads fastest.

A stock fp32 linear reorders its weight on every call; packed, a decode step reads memory at the machine's limit and a pass of
eight tokens costs little more than one. Packed results are also the same bits for 2 … 64 rows, which exact mode stands on.
The two operators are what torch's own CPU compiler emits; they are semi-private, so `packs` tries them and everything
here falls back to dense weights.
"""

import time
from collections.abc import Iterable, Sequence
from functools import cache

import torch
from torch import nn
from torch.nn.functional import pad

from paceline.lm.weights import Native, Weights
from paceline.lm.weights.dense import Dense

__all__ = ["ROWS", "Packed", "PackedLinear", "can_pack", "packed", "packs", "pays"]

_PACKABLE = (torch.float32, torch.bfloat16)
ROWS = 256  # most rows of one call whose results are the same bits as any other number of rows


def can_pack(weight: torch.Tensor) -> bool:
    """True for plain CPU weights of a dtype that the packed kernel takes on this processor."""
    return (type(weight) in (torch.Tensor, nn.Parameter) and weight.device.type == "cpu" and weight.dim() == 2
            and packs(weight.dtype))


@cache
@torch.autocast("cpu", enabled=False)
def packs(dtype: torch.dtype) -> bool:
    """Whether weights of this dtype can be packed, which depends on the processor too (bf16 wants AVX-512): tried once."""
    if dtype not in _PACKABLE or not torch.backends.mkldnn.is_available():
        return False
    try:
        Packed(torch.ones(16, 16, dtype=dtype, device="cpu")).linear(torch.ones(2, 16, dtype=dtype, device="cpu"))
    except (RuntimeError, AttributeError):  # torch raises the first where the processor, the second where torch itself lacks it
        return False
    return True


class Packed:
    """The same linear on a packed copy of the weight; the residual addition is fused into the kernel."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), 8)
        self.bias = None if bias is None else bias.detach()
        self.shape, self.dtype = (weight.shape[0], weight.shape[1]), weight.dtype
        self._plain = torch.ops.mkldnn._linear_pointwise.default
        self._add = torch.ops.mkldnn._linear_pointwise.binary

    kernel = None

    @property
    def bytes(self) -> int:
        return self.shape[0] * self.shape[1] * self.dtype.itemsize

    def linear(self, x: torch.Tensor, add: torch.Tensor | None = None) -> torch.Tensor:
        if x.shape[0] == 1:  # one row takes another kernel, whose sums differ in the last bit
            return self.linear(pad(x, (0, 0, 0, 1)), None if add is None else pad(add, (0, 0, 0, 1)))[:1]
        if add is None:
            return self._plain(x, self.weight, self.bias, "none", [], "")
        return self._add(x, add, self.weight, self.bias, "add")

    def native(self, gated: bool = False) -> Native | None:
        return None


class PackedLinear(nn.Module):
    """Stands where an `nn.Linear` stood in our copy of a module tree; x [..., in] -> [..., out]."""

    def __init__(self, packed: Packed, out_features: int) -> None:
        super().__init__()
        self.packed, self.out_features = packed, out_features

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.packed.linear(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], self.out_features)


SAMPLE = 128 << 20  # bytes of weights timed: more than the caches hold, as in a real forward


@torch.inference_mode()
@torch.autocast("cpu", enabled=False)
def pays(weights: Iterable[torch.Tensor], repeats: int = 5) -> bool:
    """Whether packing these weights is faster here: passes over a sample of them at 2 and at 8 rows, one kind then the other.

    One answer for all of them: bit-exact mode needs every linear packed, and the few small shapes where the stock kernel wins
    cost less than they would break. Timing real weights in turn matters: a single one stays in cache and says little.
    """
    sample: list[torch.Tensor] = []
    for weight in filter(can_pack, weights):
        if sum(w.numel() * w.element_size() for w in sample) < SAMPLE:
            sample.append(weight)
    if not sample:
        return False
    kinds: list[Sequence[Weights]] = [[Packed(w) for w in sample], [Dense(w) for w in sample]]
    best = [float("inf")] * 2
    for _ in range(repeats):  # the best of each: another program's load then hits both or neither
        for i, linears in enumerate(kinds):
            best[i] = min(best[i], _pass_time(linears))
    return best[0] < best[1]


def _pass_time(linears: Sequence[Weights]) -> float:
    """Seconds of one pass over all linears at 2 and at 8 rows."""
    inputs = {(m, x.shape[1]): torch.ones(m, x.shape[1], dtype=x.dtype, device="cpu") for x in linears for m in (2, 8)}
    start = time.perf_counter()
    for rows in (2, 8):
        for x in linears:
            x.linear(inputs[rows, x.shape[1]])
    return time.perf_counter() - start


def packed(weights: Weights) -> Weights:
    """The same weights packed, where they are plain ones that can be; else as they are."""
    return Packed(weights.weight, weights.bias) if isinstance(weights, Dense) and can_pack(weights.weight) else weights
