"""Which phrases change places: from costs ``[N, T, T]`` of token k at position i, the ``sizes [N]`` of the sentences and the
``lengths [N]`` of their phrases to weights ``[N, T, T]`` (`_reordered`). `ngram_oaxe` says what each variant means.
"""

from __future__ import annotations

import torch
from torch import Tensor

from paceline.objectives._assign import assign, by_sentence
from paceline.objectives._blocks import best_blocks
from paceline.objectives._reordered import one_hot

__all__ = ["blocks", "tiling", "window_costs", "windows"]


def windows(costs: Tensor, sizes: Tensor, lengths: Tensor) -> Tensor:
    """One assignment of size L - n + 1; then each window votes for the labels of its positions."""
    places, number = torch.arange(costs.shape[1], device=costs.device), (sizes - lengths + 1)[:, None]
    over = (places + 1).minimum(sizes[:, None] - places).minimum(lengths[:, None]).minimum(number)  # windows over a position
    vote = 1 / over.clamp_min(1)[..., None]
    chosen = one_hot(assign(window_costs(costs * vote, lengths), number[:, 0])) * (places < number)[..., None]
    return vote * _along(chosen, lengths, back=False)


def tiling(costs: Tensor, sizes: Tensor, lengths: Tensor) -> Tensor:
    """One assignment of size floor(L / n) over the phrases that are whole."""
    places, n = torch.arange(costs.shape[1], device=costs.device), lengths[:, None]
    rows, starts = torch.arange(len(costs), device=costs.device)[:, None, None], (places * n).clamp_max(len(places) - 1)
    order = assign(window_costs(costs, lengths)[rows, starts[:, :, None], starts[:, None]], sizes // lengths)
    token = order.gather(1, places // n) * n + places % n
    return one_hot(token.where(places // n < (sizes // lengths)[:, None], places))


def blocks(costs: Tensor, sizes: Tensor, lengths: Tensor) -> Tensor:
    """One search a sentence, on the CPU."""
    n = dict(zip(sizes.tolist(), lengths.tolist(), strict=True))
    return one_hot(by_sentence(costs, sizes, lambda costs: best_blocks(costs, n[len(costs)])))


def window_costs(costs: Tensor, lengths: Tensor) -> Tensor:
    """``[N, T, T]``: the cost of the n tokens from k on at the n positions from i on; what reaches beyond T is left out."""
    return _along(costs, lengths, back=True)


def _along(matrix: Tensor, lengths: Tensor, back: bool) -> Tensor:
    """Sum over j < n of the matrix moved j steps along its diagonals, back or forward."""
    total, width = torch.zeros_like(matrix), matrix.shape[1]
    for j in range(int(lengths.max())):
        early, late = (slice(None), slice(width - j), slice(width - j)), (slice(None), slice(j, width), slice(j, width))
        into, source = (early, late) if back else (late, early)
        total[into] += matrix[source] * (j < lengths)[:, None, None]
    return total
