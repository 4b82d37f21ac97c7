"""Keys evenly spaced over the text, however many are kept: a control for selectors that look."""

from typing import Any

import torch

__all__ = ["uniform"]


def uniform(trace: Any, layer: int, keys: torch.Tensor) -> torch.Tensor:
    """Score [1, n] of n keys [G, n, D]: the van der Corput sequence, any beginning of which is spread evenly."""
    n = keys.shape[1]
    index = torch.arange(n, dtype=torch.long, device=keys.device)
    scores = torch.zeros(n, dtype=torch.float32, device=keys.device)
    for bit in range(max(1, (n - 1).bit_length())):  # a place's turn is its index with the bits reversed
        scores += ((index >> bit) & 1) * 2.0**-bit
    return -scores[None]
