"""The first few keys and then the last ones: attention sinks and a window (StreamingLLM, Xiao et al. 2023, arXiv 2309.17453)."""

from typing import Any

import torch

__all__ = ["streaming"]


def streaming(trace: Any, layer: int, keys: torch.Tensor, *, sinks: int = 4) -> torch.Tensor:
    """Score [1, n] of n keys [G, n, D]: the later the better, and the first `sinks` best of all."""
    scores = torch.arange(keys.shape[1], dtype=torch.float32, device=keys.device)
    scores[:sinks] = keys.shape[1]
    return scores[None]
