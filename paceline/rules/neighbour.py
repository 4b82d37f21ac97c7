"""A drafted token is judged by the target's mass on it and its neighbours together (LANTERN, arXiv 2410.03355, and LANTERN++).

A baseline for image tokens, where neighbours in the codebook, or grey levels beside each other, look alike.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from paceline.core.proposal import Proposal, Verdict
from paceline.core.request import Request
from paceline.core.row import Row
from paceline.core.sampling import Scores
from paceline.errors import DataError, RequestError, SpecError
from paceline.rules._walk import Split, best, refuse_exactness, siblings, walk

__all__ = ["Neighbour"]

NOTHING = 1e-6  # mass below which a law without a neighbourhood is not worth a name


@dataclass(frozen=True)
class Neighbour:
    """k: neighbours of a token. delta: how much of their mass counts, nearest first, while its running sum stays within.
    relative: delta is a share of the token's own mass (LANTERN++; the released code writes it as 1 + that share). neighbours:
    adjacent (ids are ordinal: x - 1, x + 1, x - 2, …), an .npy file or an array [V, K] of ids, nearest first, without the token
    itself. resample: after a rejection, lantern = the target's law without the token and its neighbours, best = Norm([p - q
    f]+), which departs less.

    A drafted token is accepted with min(1, (p(x) + counted mass) / q(x)); q is one-hot for chosen nodes, as in the papers' trees.
    Departure: a token of probability 0 (outside top-k, top-p or a grammar) is never accepted. `Verdict.spent` is what every level
    reached departs from its law, sum [q f + r G - p]+ with G the mean over rejected tokens of what follows them.
    Raises RequestError at temperature 0, for reproducible=True and for a table that does not fit the vocabulary (`check`).
    """

    k: int = 2
    delta: float = 0.1
    relative: bool = False
    neighbours: Any = "adjacent"
    resample: Literal["lantern", "best"] = "lantern"
    lossless = False

    def __post_init__(self) -> None:
        if self.k < 0 or not self.delta >= 0:
            raise SpecError(f"neighbour needs k >= 0 and delta >= 0; found k={self.k}, delta={self.delta}.")

    def check(self, request: Request, vocab: int) -> None:
        """Raise RequestError for a request that a relaxed rule cannot serve."""
        refuse_exactness("neighbour", request)
        shape = (vocab, vocab - 1) if self._table is None else tuple(self._table.shape)
        if len(shape) != 2 or shape[0] != vocab or shape[1] < self.k:
            raise RequestError(f"neighbour needs for each of {vocab} ids its {self.k} nearest ones; found a table of {shape}. "
                               "Give another table or a smaller k.")
        if self._table is not None and not fits(self._table[:, : self.k], vocab):
            raise RequestError(f"neighbour needs ids from 0 to {vocab - 1}, none beside itself; this table has others.")

    @cached_property
    def _table(self) -> torch.Tensor | None:
        """Ids [V, K] by distance; None = adjacent."""
        if isinstance(self.neighbours, str) and self.neighbours == "adjacent":
            return None
        try:
            table = np.load(self.neighbours) if isinstance(self.neighbours, str | Path) else self.neighbours
        except (OSError, ValueError) as error:
            raise DataError(f"neighbour expected adjacent or an .npy file of ids; {self.neighbours}: {error}.") from error
        return torch.as_tensor(table, dtype=torch.long, device="cpu")

    def near(self, tokens: torch.Tensor, vocab: int) -> torch.Tensor:
        """The k nearest ids [n, k] of tokens [n], nearest first."""
        if self._table is not None:
            return self._table.to(tokens.device)[tokens, : self.k]
        apart = torch.arange(vocab, dtype=torch.long, device=tokens.device)[None] - tokens[:, None]
        order = torch.where(apart == 0, 2 * vocab, 2 * apart.abs() + (apart > 0))  # ties: the lower id first
        return order.topk(self.k, largest=False).indices

    def __call__(self, scores: Scores, proposal: Proposal, row: Row) -> Verdict:
        return walk(scores, proposal, row, lambda place: siblings(place, self._split))

    def _split(self, rest: torch.Tensor, q: torch.Tensor, token: int, sibling: int) -> Split:
        rest, q = rest.double(), q.double()  # small remainders are differences of sums near 1
        tokens = q.nonzero()[:, 0]
        near = self.near(tokens, len(rest))
        own, mass = rest[tokens], rest[near]
        within = mass.cumsum(-1) <= (self.delta * own[:, None] if self.relative else self.delta)
        reach = (own + (mass * within).sum(-1)) * (own > 0)
        taken = torch.zeros_like(rest).scatter(0, tokens, torch.minimum(q[tokens], reach))
        if self.resample == "best":
            return best(rest, taken)
        after = self._after(rest, q - taken, tokens, near)
        return Split(taken, self._left(rest, token), float((taken + after - rest).clamp_min(0.0).sum()))

    def _after(self, rest: torch.Tensor, rejected: torch.Tensor, tokens: torch.Tensor, near: torch.Tensor) -> torch.Tensor:
        """Mass [V] of what follows a rejection: every rejected token's law without its neighbourhood, by how often it happens."""
        around = torch.cat((tokens[:, None], near), 1)
        kept = rest.sum() - rest[around].sum(-1)
        some = kept > NOTHING
        weight = rejected[tokens] / torch.where(some, kept, 1.0)
        without = (weight * some)[:, None].expand(around.shape)
        return rest * (weight.sum() - torch.zeros_like(rest).scatter_add(0, around.flatten(), without.flatten()))

    def _left(self, rest: torch.Tensor, token: int) -> torch.Tensor:
        """The law [V] after this token was rejected; `rest` itself where its neighbourhood is all there is."""
        ids = torch.tensor([token], dtype=torch.long, device=rest.device)
        around = torch.cat((ids, self.near(ids, len(rest))[0]))
        return rest.index_fill(0, around, 0.0) if float(rest.sum() - rest[around].sum()) > NOTHING else rest


def fits(table: torch.Tensor, vocab: int) -> bool:
    """True when a table [V, k] names ids of the vocabulary, and no token itself."""
    within = bool(((table >= 0) & (table < vocab)).all())
    return within and not bool((table == torch.arange(vocab, dtype=torch.long, device=table.device)[:, None]).any())
