"""Keys that the text's own queries attend to most (Sparse-to-Dense, Zhang, Du et al. 2025, arXiv 2505.19155, section 3).

Scores are softmax probabilities over all keys a query sees, summed over the query heads that share a key head and over the last
tokens of the kept text: the paper's mean up to a constant, over fewer tokens, since each costs a pass over all keys.
"""

import torch

from paceline.core.trace import Trace
from paceline.lm.capture import mass

__all__ = ["topk"]


def topk(trace: Trace, layer: int, keys: torch.Tensor, *, queries: int = 16) -> torch.Tensor:
    """Score [G, n] of each of n keys [G, n, D] in one layer, per key head, by so many of the last kept tokens."""
    return mass(trace.queries[layer][:, -queries:], keys, trace.positions[-queries:])
