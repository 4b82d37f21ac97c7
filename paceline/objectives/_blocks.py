"""The best order of a sentence in which every run of tokens that stays together has at least n of them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from paceline.objectives._assign import hungarian

__all__ = ["best_blocks"]

WIDTH = 256  # sets of used tokens that are followed at each position

Way = tuple[float, tuple[int, ...]]  # what was paid, and the tokens of the positions so far


def best_blocks(costs: np.ndarray, n: int, width: int = WIDTH) -> np.ndarray:
    """The token of each position, for ``costs [L, L]`` and 1 <= n <= L.

    Dynamic programming: positions are filled from the left with blocks of n to 2n - 1 tokens (a longer run is several), and of
    all ways that have used the same tokens the cheapest goes on. There are far fewer such sets than 2^L, since what is left must
    fall into runs of n or more, too. Exact unless more than `width` of them end at one position: then the cheapest go on, and the
    reference's own order, so the result is never worse than that.
    """
    if n == 1:
        return hungarian(costs)
    size, paid = len(costs), _sums(costs)
    ways: list[dict[int, Way]] = [{0: (0.0, ())}, *({} for _ in range(size))]
    for i in range(size):
        for used in _followed(ways[i], i, width):
            spent, order = ways[i][used]
            for start, length in _blocks(used, size, n):
                block = ((1 << length) - 1) << start
                way = spent + paid[i + length, start + length] - paid[i, start], order + tuple(range(start, start + length))
                ways[i + length][used | block] = min(way, ways[i + length].get(used | block, way))
    return np.array(ways[size][(1 << size) - 1][1])


def _sums(costs: np.ndarray) -> np.ndarray:
    """``[L + 1, L + 1]``: sums along the diagonals, so that a block's cost is a difference of two."""
    sums = np.zeros((len(costs) + 1, len(costs) + 1))
    for i, row in enumerate(costs):
        sums[i + 1, 1:] = sums[i, :-1] + row
    return sums


def _followed(ways: dict[int, Way], filled: int, width: int) -> list[int]:
    """The cheapest sets of used tokens, and that of the reference's own order."""
    own = (1 << filled) - 1
    return sorted(ways, key=lambda used: (used != own, ways[used]))[:width]


@lru_cache(1 << 16)
def _blocks(used: int, size: int, n: int) -> tuple[tuple[int, int], ...]:
    """Start and length of each block of free tokens that leaves no free run shorter than n; the bits of `used` are tokens. The
    same for all sentences of a length, so it is kept.
    """
    free = (1 << size) - 1 & ~used
    found = ((start, length, ((1 << length) - 1) << start) for start in range(size) for length in range(n, 2 * n))
    return tuple((start, length) for start, length, block in found if block & free == block and _fillable(free ^ block, n))


def _fillable(free: int, n: int) -> bool:
    """Whether the free tokens fall into runs of at least n: shrunk and grown again by n - 1, they are the same."""
    grown = free
    for _ in range(n - 1):
        grown &= grown >> 1
    for _ in range(n - 1):
        grown |= grown << 1
    return grown == free
