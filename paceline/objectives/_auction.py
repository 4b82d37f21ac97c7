"""Assignment by auction (Bertsekas 1988, Annals of Operations Research 14), batched: each round is a few tensor operations.

Positions that hold no token bid for the one that gives them most at its price, and raise that by what they would lose with the
second best, plus eps; the highest bidder takes it. Once all are held, the sum is within L eps of the best. Prices found with a
large eps are a start for a smaller one, which spares long wars between bids.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["ROUNDS", "TOLERANCE", "auction"]

TOLERANCE = 1e-4  # nats a sentence that an assignment may cost more than the best
ROUNDS = 500  # at most, for each eps
FINER = 5.0  # each eps is smaller than the last by this factor
LOOK = 8  # rounds between looks at whether all are held: a look waits for the device


def auction(costs: Tensor, sizes: Tensor, rounds: int = ROUNDS) -> tuple[Tensor, Tensor]:
    """`_assign.assign`'s order ``[N, T]``, and which sentences ``[N]`` are solved; the order of the others is arbitrary."""
    width = costs.shape[1]
    inside = torch.arange(width, device=costs.device) < sizes[:, None]
    value = -costs.double().masked_fill(~(inside[:, :, None] & inside[:, None]), math.inf)
    price = value.new_zeros(len(costs), width)
    for eps in _steps(costs):
        owner, price = _sale(value, price, _start(inside), eps, rounds)
    return owner.argsort(1), (owner >= 0).all(1)


def _steps(costs: Tensor) -> Iterator[float]:
    """Each eps, from half the largest cost down to what keeps a sentence within the tolerance."""
    eps, last = float(costs.max()) / 2 if costs.numel() else 0.0, TOLERANCE / max(costs.shape[1], 1)
    while eps > last:
        yield eps
        eps /= FINER
    yield last


def _start(inside: Tensor) -> Tensor:
    """Who holds each token: nobody, -1, but for places beyond the sentence, which hold their own."""
    return torch.arange(inside.shape[1], device=inside.device).where(~inside, -1)


def _sale(value: Tensor, price: Tensor, owner: Tensor, eps: float, rounds: int) -> tuple[Tensor, Tensor]:
    """All tokens sold anew at prices to start from: owners and prices ``[N, T]``."""
    places = torch.arange(price.shape[1], device=price.device)
    for turn in range(rounds):
        holds = (owner[..., None] == places).any(1)
        if turn % LOOK == 0 and holds.all():
            break
        best = (value - price[:, None]).topk(min(2, len(places)))
        wanted = best.indices[..., :1]
        lead = (best.values[..., :1] - best.values[..., -1:]).nan_to_num(nan=0.0, posinf=0.0)  # no second in a sentence of one
        bids = price[:, None].expand_as(value).gather(2, wanted) + lead + eps
        offers = torch.full_like(value, -math.inf).scatter(2, wanted, bids).masked_fill(holds[..., None], -math.inf)
        high, bidder = offers.max(1)
        owner, price = bidder.where(high > -math.inf, owner), high.where(high > -math.inf, price)
    return owner, price
