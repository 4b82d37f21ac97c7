"""The cheapest one-to-one assignment of tokens to positions, for many sentences at once.

On a CPU scipy solves one sentence after the other, exactly, in O(L^3) (Kuhn 1955, the Hungarian method; its
`linear_sum_assignment` is Jonker and Volgenant's variant). On a GPU all are solved side by side, and those that are not solved
within a limit go to scipy.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from paceline.errors import ModelError
from paceline.objectives._auction import ROUNDS, auction

__all__ = ["assign", "by_sentence", "hungarian", "side_by_side"]


def assign(costs: Tensor, sizes: Tensor) -> Tensor:
    """``[N, T]``: the token of each position, at the least sum of ``costs [N, T, T]`` over the leading ``sizes [N]`` positions
    and tokens; positions beyond keep their own. Raises ModelError where scipy is needed and missing."""
    return side_by_side(costs, sizes) if costs.is_cuda else by_sentence(costs, sizes, hungarian)


def by_sentence(costs: Tensor, sizes: Tensor, solve: Callable[[np.ndarray], np.ndarray]) -> Tensor:
    """`assign` with a solver of one ``[L, L]`` matrix. Only the sentences' own blocks leave the device, in one copy."""
    inside = torch.arange(costs.shape[1], device=costs.device) < sizes[:, None]
    packed = costs[inside[:, :, None] & inside[:, None]].cpu().numpy()
    order = np.tile(np.arange(costs.shape[1]), (len(costs), 1))
    for row, size in zip(order, sizes.tolist(), strict=True):
        row[:size] = solve(packed[: size * size].reshape(size, size))
        packed = packed[size * size :]
    return torch.from_numpy(order).to(costs.device)


def hungarian(costs: np.ndarray) -> np.ndarray:
    """The token of each position, by scipy."""
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise ModelError("Matching tokens to positions needs scipy: pip install 'paceline[translate]'.") from error
    return linear_sum_assignment(costs)[1]


def side_by_side(costs: Tensor, sizes: Tensor, rounds: int = ROUNDS) -> Tensor:
    """`assign` where the costs lie, to within `_auction.TOLERANCE` a sentence; what takes more than so many rounds goes to scipy.

    Tested against scipy; its speed on a GPU is not measured.
    """
    order, solved = auction(costs, sizes, rounds)
    if not solved.all():
        order[~solved] = by_sentence(costs[~solved], sizes[~solved], hungarian)
    return order
