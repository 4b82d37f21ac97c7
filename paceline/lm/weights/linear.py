"""Linears packed once into the layout the CPU's matrix kernel reads fastest.

A stock fp32 linear reorders its weight on every call; packed, a decode step reads memory at the machine's limit and a pass of
eight tokens costs little more than one. Packed results are also the same bits for 2 … 64 rows, which exact mode stands on.
The two operators are what torch's own CPU compiler emits; they are semi-private, so everything here falls back to `F.linear`.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.nn.functional import linear, pad

__all__ = ["ROWS", "Dense", "Packed", "PackedLinear", "Restored", "can_pack", "fuse", "make", "packs", "pays"]

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
        Packed(torch.ones(16, 16, dtype=dtype, device="cpu"), None)(torch.ones(2, 16, dtype=dtype, device="cpu"))
    except (RuntimeError, AttributeError):  # torch raises the first where the processor, the second where torch itself lacks it
        return False
    return True


class Dense:
    """A linear as torch does it: `linear(x)` is x W^T + b, plus `add` where given. weight [out, in], x [M, in] -> [M, out]."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self.weight, self.bias = weight, bias
        self.width, self.dtype = weight.shape[1], weight.dtype

    def __call__(self, x: torch.Tensor, add: torch.Tensor | None = None) -> torch.Tensor:
        out = linear(x, self.weight, self.bias)
        return out if add is None else out + add


class Packed:
    """The same linear on a packed copy of the weight; the residual addition is fused into the kernel."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        self.weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), 8)
        self.bias = None if bias is None else bias.detach()
        self.width, self.dtype = weight.shape[1], weight.dtype
        self._plain = torch.ops.mkldnn._linear_pointwise.default
        self._add = torch.ops.mkldnn._linear_pointwise.binary

    def __call__(self, x: torch.Tensor, add: torch.Tensor | None = None) -> torch.Tensor:
        if x.shape[0] == 1:  # one row takes another kernel, whose sums differ in the last bit
            return self(pad(x, (0, 0, 0, 1)), None if add is None else pad(add, (0, 0, 0, 1)))[:1]
        if add is None:
            return self._plain(x, self.weight, self.bias, "none", [], "")
        return self._add(x, add, self.weight, self.bias, "add")


class PackedLinear(nn.Module):
    """Stands where an `nn.Linear` stood in our copy of a module tree; x [..., in] -> [..., out]."""

    def __init__(self, packed: Packed, out_features: int) -> None:
        super().__init__()
        self.packed, self.out_features = packed, out_features

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.packed(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], self.out_features)


class Restored(nn.Module):
    """Stands where an `nn.Linear` stood, where its weight lives elsewhere in another layout: `weight` is made when asked for.

    `state_dict`, and so `save_pretrained`, hold the ordinary weight [out, in]; the forward is the stock one, and slow.
    """

    def __init__(self, restore: Callable[[], torch.Tensor], linear: nn.Linear) -> None:
        super().__init__()
        self.restore, self.in_features, self.out_features = restore, linear.in_features, linear.out_features
        self.bias = linear.bias

    @property
    def weight(self) -> torch.Tensor:
        return self.restore()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return linear(x, self.weight, self.bias)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "weight"] = self.weight


def fuse(linears: Sequence[nn.Linear]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Stack linears that share their input into one weight [sum of outs, in] and one bias (zeros where one has none)."""
    weight = torch.cat([m.weight.detach() for m in linears]) if len(linears) > 1 else linears[0].weight.detach()
    if all(m.bias is None for m in linears):
        return weight, None
    return weight, torch.cat([m.weight.new_zeros(m.out_features) if m.bias is None else m.bias.detach() for m in linears])


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
    kinds: list[Sequence[Dense | Packed]] = [[Packed(w, None) for w in sample], [Dense(w, None) for w in sample]]
    best = [float("inf")] * 2
    for _ in range(repeats):  # the best of each: another program's load then hits both or neither
        for i, linears in enumerate(kinds):
            best[i] = min(best[i], _pass_time(linears))
    return best[0] < best[1]


def _pass_time(linears: Sequence[Dense | Packed]) -> float:
    """Seconds of one pass over all linears at 2 and at 8 rows."""
    inputs = {(m, x.width): torch.ones(m, x.width, dtype=x.dtype, device="cpu") for x in linears for m in (2, 8)}
    start = time.perf_counter()
    for rows in (2, 8):
        for x in linears:
            x(inputs[rows, x.width])
    return time.perf_counter() - start


def make(weight: torch.Tensor, bias: torch.Tensor | None, packed: bool) -> Dense | Packed:
    """A linear over this weight, packed where asked for and possible."""
    return Packed(weight, bias) if packed and can_pack(weight) else Dense(weight, bias)
