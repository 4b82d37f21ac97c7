"""Keys that the text's own queries attend to most (Sparse-to-Dense, Zhang, Du et al. 2025, arXiv 2505.19155, section 3).

Scores are softmax probabilities over all keys a query sees, summed over the query heads that share a key head and over the text's
tokens: the mean of the paper up to a constant.
"""

import torch

from paceline.lm.trace import Trace, mass

__all__ = ["topk"]


def topk(trace: Trace, layer: int, keys: torch.Tensor) -> torch.Tensor:
    """Score [G, n] of each of n keys [G, n, D] in one layer, per key head."""
    return mass(trace.queries[layer], keys, trace.positions)
