"""Which machine a figure comes from, and how fast it can read memory. Knows no language model."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from paceline.lm.machine import accelerator, processor
from paceline.lm.weights.packed import Packed, can_pack

__all__ = ["describe", "pin_threads", "read_limit", "reading"]

PACKAGES = ("paceline", "torch", "transformers", "llama-cpp-python")


def pin_threads(threads: int | None = None) -> int:
    """Fix torch's thread count for every method alike, to the cores this process may use if none is given."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(threads or available)
    return torch.get_num_threads()


def describe() -> dict[str, Any]:
    """Machine and library versions, for the record beside every figure."""
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "accelerator": accelerator(),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "versions": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def read_limit(dtype: torch.dtype = torch.float32, size: int = 256 * 2**20, repeats: int = 7) -> dict[str, Any]:
    """Bytes per second this machine reads, best of two loops over `size` bytes: a plain sum, and one row through packed
    linears. Give the size of the weights to compare with, so that the last-level cache helps or fails both alike.

    The larger is the limit, since decoding can hope for no more; both are reported. Each is the median of `repeats`
    passes.
    """
    ways = {"sum": _sum_pass(dtype, size)}
    if can_pack(torch.ones(2, 2, dtype=dtype)):
        ways["packed_linear"] = _linear_pass(dtype, size)
    rates = {name: size / _median_seconds(work, repeats) for name, work in ways.items()}
    best = max(rates, key=lambda name: rates[name])
    return {"bytes_per_second": rates[best], "method": best, "all": rates, "read_bytes": size}


def reading(dtype: torch.dtype, weight_bytes: int, plain: dict[str, Any]) -> dict[str, Any]:
    """How near plain decoding, by its figures, comes to the speed at which this machine reads memory (prefill left out)."""
    limit = read_limit(dtype, weight_bytes)
    decoding = sum(plain["seconds"].values()) - plain["seconds"]["prefill"]
    rate = weight_bytes * plain["target_forwards"] / max(decoding, 1e-12)
    return {
        "weight_bytes": weight_bytes,
        "bytes_per_second": rate,
        "limit": limit,
        "share": rate / limit["bytes_per_second"],
    }


def _sum_pass(dtype: torch.dtype, size: int) -> Callable[[], object]:
    block = torch.ones(size // dtype.itemsize, dtype=dtype)
    return lambda: block.sum(dtype=torch.float32)


def _linear_pass(dtype: torch.dtype, size: int) -> Callable[[], object]:
    width, inner = 2048, 1024
    count = max(1, size // (width * inner * dtype.itemsize))
    layers = [Packed(torch.ones(width, inner, dtype=dtype)) for _ in range(count)]
    rows = torch.ones(2, inner, dtype=dtype)
    return lambda: [layer.linear(rows) for layer in layers]


def _median_seconds(work: Callable[[], object], repeats: int) -> float:
    work()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)[len(seconds) // 2]
