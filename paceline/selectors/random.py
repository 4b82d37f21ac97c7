"""Keys by lot, the same ones for the same text length: a control for selectors that look."""

from typing import Any

import torch

__all__ = ["random"]


def random(trace: Any, layer: int, keys: torch.Tensor, *, seed: int = 0) -> torch.Tensor:
    """Score [1, n] of n keys [G, n, D]: a number drawn with the seed and the layer."""
    lots = torch.Generator().manual_seed(seed * 1000 + layer)
    return torch.rand(1, keys.shape[1], generator=lots, dtype=torch.float32, device="cpu").to(keys.device)
