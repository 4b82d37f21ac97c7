"""Typical acceptance: a drafted token that is likely enough for the target is accepted for certain (Medusa, arXiv 2401.10774).

A baseline to compare with: it asks nothing of the draft's law, and so departs from the target's by more than it need.
"""

from dataclasses import dataclass

import torch

from paceline.core.proposal import Proposal, Verdict
from paceline.core.request import Request
from paceline.core.row import Row
from paceline.core.sampling import Scores
from paceline.errors import SpecError
from paceline.rules._walk import Place, Split, best, refuse_exactness, siblings, walk

__all__ = ["Typical"]


@dataclass(frozen=True)
class Typical:
    """eps: a token of at least this probability is typical. alpha: so is one above alpha exp(-H), H being the entropy (nats) of
    the target's law there. The lower of the two thresholds counts (the paper's section 2.3; defaults of the released code).

    Departures: where children were drawn, a rejection goes on with Norm([p - q f]+) instead of p, which departs less (for chosen
    ones the two are the same); siblings are tried in order instead of keeping the longest accepted path. `Verdict.spent` is the
    overshoot of every level reached: 1 - p(x) for an accepted chosen token, so it soon says nothing more than "up to 1".
    Raises RequestError at temperature 0 and for reproducible=True (`check`).
    """

    eps: float = 0.09
    alpha: float = 0.3
    lossless = False

    def __post_init__(self) -> None:
        if not 0 < self.eps <= 1 or not self.alpha > 0:
            raise SpecError(f"typical needs 0 < eps <= 1 and alpha > 0; found eps={self.eps}, alpha={self.alpha}.")

    def check(self, request: Request, vocab: int) -> None:
        """Raise RequestError for a request that a relaxed rule cannot serve."""
        refuse_exactness("typical", request)

    def __call__(self, scores: Scores, proposal: Proposal, row: Row) -> Verdict:
        return walk(scores, proposal, row, self._step)

    def _step(self, place: Place) -> tuple[int | None, int]:
        p = place.law
        likely = p > min(self.eps, self.alpha * float(torch.exp(-torch.special.entr(p).sum())))

        def split(rest: torch.Tensor, q: torch.Tensor, token: int, sibling: int) -> Split:
            return best(rest, q * likely)

        return siblings(place, split)
