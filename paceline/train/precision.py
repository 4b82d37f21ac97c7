"""What numbers cost on this machine: which format multiplies faster, and numbers too small to be worth their time."""

from __future__ import annotations

import time
from functools import lru_cache

import torch

__all__ = ["fast_dtype", "flush_denormals"]

_SIZE = 768  # of the matrices timed: large enough to reach the full rate, small enough for a few milliseconds


@lru_cache(maxsize=4)
def fast_dtype(device: str = "cpu") -> torch.dtype:
    """bfloat16, or float32 where a CPU multiplies that faster; measured once per process.

    CPUs with AVX512-BF16 differ by a factor of four: one has it at twice the fp32 rate, another at half of it.
    """
    if device != "cpu":
        return torch.bfloat16
    return min((torch.bfloat16, torch.float32), key=_seconds)


def _seconds(dtype: torch.dtype, repeats: int = 5) -> float:
    """Best time of one product."""
    a = torch.ones(_SIZE, _SIZE, dtype=dtype)
    best = float("inf")
    for _ in range(repeats + 1):
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
    return best


def flush_denormals() -> None:
    """Let products below the smallest normal number be zero, in this process, from here on.

    Gradients of sharp attention are full of them, and some CPUs take a hundred cycles for each: a training step went from
    3.7 to 3.3 s. Worker threads inherit the setting when they start, so call it before the first large operation.
    """
    torch.set_flush_denormal(True)
