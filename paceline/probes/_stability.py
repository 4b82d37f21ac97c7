"""Whether heads do on other texts what they did on these: two readings of one model beside each other."""

from typing import NamedTuple

import torch

from paceline.core.reading import Reading

__all__ = ["Stability", "correlation", "ranks", "stability"]


class Stability(NamedTuple):
    """Of one lag. heads: how many are slash-dominant in the first reading. ratio: their mean score in the second over that in the
    first (NaN without heads). overlap: heads that are dominant in both, of those in either. rank: correlation of the ranks of
    all heads' scores.
    """

    lag: int
    heads: int
    ratio: float
    overlap: float
    rank: float


def stability(first: Reading, second: Reading, kappa: float = 0.1) -> list[Stability]:
    """Slash scores on the texts of one reading and on those of another, such as random tokens, at each lag. The heads are chosen
    by the first alone, so a ratio below 1 is partly that the best of many look better than they are.
    """
    figures = [reading.values["score"] for reading in (first, second)]
    a, b = (figure.mean.flatten(0, 1).T for figure in figures)
    out = []
    for lag, x, y in zip(figures[0].ticks["lag"], a, b, strict=True):
        here, there = x >= kappa, y >= kappa
        overlap = (here & there).sum() / (here | there).sum()
        out.append(Stability(lag, int(here.sum()), float(y[here].mean() / x[here].mean()), float(overlap),
                             float(correlation(ranks(x), ranks(y)))))
    return out


def ranks(x: torch.Tensor) -> torch.Tensor:
    """Of values [..., n], each one's place among them, from 0; equal ones in their own order."""
    return x.argsort(dim=-1, stable=True).argsort(dim=-1).float()


def correlation(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Pearson's, along the last dimension; places where both are NaN are left out."""
    a, b = ((x - x.nanmean(-1, keepdim=True)).nan_to_num() for x in (a, b))
    return torch.cosine_similarity(a, b, dim=-1)
