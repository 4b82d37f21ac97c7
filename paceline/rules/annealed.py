"""Relaxed speculative sampling, most at the first drafted tokens, at a price that is told (COOL-SD, arXiv 2601.09212).

A drafted token is accepted with min(1, omega p / q); omega falls with its depth in the draft. Early tokens gain most: each
accepted one also opens the way to those behind it, while a unit of acceptance costs one unit of departure wherever it is bought.
"""

from dataclasses import dataclass
from functools import cached_property
from math import exp, inf
from typing import Literal, get_args

import torch

from paceline.core.proposal import Proposal, Verdict
from paceline.core.request import Request
from paceline.core.row import Row
from paceline.core.sampling import Scores
from paceline.errors import SpecError
from paceline.rules._walk import Place, Split, best, exact, refuse_exactness, siblings, walk

__all__ = ["Annealed"]

Schedule = Literal["clamped", "printed", "uniform", "linear", "reversed", "first"]
TINY = 1e-12  # a budget with no more left than this is spent


@dataclass(frozen=True)
class Annealed:
    """delta: mean of omega over a draft (of the printed schedule); above 1 relaxes. nu: how fast omega falls. schedule: clamped,
    printed, uniform, linear, reversed or first. length: the depths L over which omega is averaged. tv_budget: most total
    variation that one output may spend; then the rule is exact.

    Schedules: *printed*, omega_i = delta exp(-nu i) L / sum_j exp(-nu j) (section 3 of the paper; the normaliser is derived
    here); *clamped*, max(1, printed), our default: an omega below 1 is exact too, but accepts less; *uniform*; *linear*, down to
    nearly 0; *reversed*, printed from the end; *first*, all of the relaxation at the first token, 1 behind it. After a rejection
    the next token is drawn from Norm([p - q f]+), which spends least (Theorem 2) and for every omega of at most 1 spends
    nothing. `Verdict.spent` adds up the overshoot sum [q f - p]+ of every level that was reached; its mean over texts bounds the
    total variation between their law and the target's. It is known before the token is judged; where it would pass the budget,
    acceptance is relaxed by the part that is left, so that no output spends more.

    Departures: depths beyond L and siblings behind the first are judged exactly, on what the first left over; a chosen node has a
    one-hot q, so it is accepted with min(1, omega p). Raises RequestError at temperature 0 and for reproducible=True (`check`).
    """

    delta: float = 1.1
    nu: float = 0.7
    schedule: Schedule = "clamped"
    length: int = 5
    tv_budget: float | None = None

    def __post_init__(self) -> None:
        numbers = 0 < self.delta < inf and 0 <= self.nu < inf and self.length >= 1
        if not numbers or not (self.tv_budget is None or self.tv_budget >= 0):
            raise SpecError(f"annealed needs delta > 0, nu >= 0, length >= 1 and tv_budget >= 0; found delta={self.delta}, "
                            f"nu={self.nu}, length={self.length}, tv_budget={self.tv_budget}.")
        if self.schedule not in get_args(Schedule):
            raise SpecError(f"annealed knows the schedules {', '.join(get_args(Schedule))}; found {self.schedule!r}.")

    @cached_property
    def omegas(self) -> tuple[float, ...]:
        """omega at depth 1 … L."""
        n, steps = self.length, range(self.length)
        mean = sum(exp(-self.nu * i) for i in steps) / n
        printed = [self.delta * exp(-self.nu * i) / mean for i in steps]
        schedules: dict[str, list[float]] = {
            "printed": printed, "clamped": [max(1.0, omega) for omega in printed], "reversed": printed[::-1],
            "uniform": [self.delta] * n, "linear": [self.delta * 2 * (n - i) / (n + 1) for i in steps],
            "first": [max(0.0, 1 + n * (self.delta - 1)), *[1.0] * (n - 1)],
        }  # fmt: skip
        return tuple(schedules[self.schedule])

    @property
    def lossless(self) -> bool:
        """True when nothing is relaxed."""
        return max(self.omegas) <= 1.0 or self.tv_budget == 0.0

    def check(self, request: Request, vocab: int) -> None:
        """Raise RequestError for a request that a relaxed rule cannot serve."""
        if not self.lossless:
            refuse_exactness("annealed", request)

    def __call__(self, scores: Scores, proposal: Proposal, row: Row) -> Verdict:
        return walk(scores, proposal, row, self._step)

    def _step(self, place: Place) -> tuple[int | None, int]:
        depth = len(place.path)
        omega = self.omegas[depth] if depth < self.length else 1.0
        left = float("inf") if self.tv_budget is None else self.tv_budget - place.row.stats.spent - place.spent
        if omega == 1.0 or left <= TINY or place.scores.sampling.greedy:
            return exact(place)

        def split(rest: torch.Tensor, q: torch.Tensor, token: int, sibling: int) -> Split:
            return within(rest, q, omega if sibling == 0 else 1.0, left)

        return siblings(place, split)


def within(rest: torch.Tensor, q: torch.Tensor, omega: float, left: float) -> Split:
    """min(q, omega p) taken; where that would spend more than is `left`, only that part of the way from min(q, p) to it, which
    spends exactly what is left, as the overshoot grows linearly on the way.
    """
    part = best(rest, torch.minimum(q, omega * rest))
    if part.spent <= left:
        return part
    taken = torch.minimum(q, rest)
    part = best(rest, taken + (left / part.spent) * (part.taken - taken))
    return Split(part.taken, part.left, left)
