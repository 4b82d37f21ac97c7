"""More candidates where the drafting model is unsure: leaves beside another drafter's chain (CaPE, Du et al. 2024).

The wrapped drafter's confidence at each place says how many of its next-likeliest tokens are scored there as well, in the same
forward of the target. A leaf that is hit ends the round with the target's own next token behind it. Source: GliDe with a CaPE
(arXiv 2402.02082), section 3, and its official code: confidence below 0.3, 0.6, 0.8 and above gives 7, 5, 3 and 1 further tokens.

By default (`bins=auto`) it departs from that and takes the leaves that are worth their cost: the chance that the target comes to
a place and takes the token of that rank there, learned as it goes, against the measured cost of one more token. Exact under
sampling, too: leaves are chosen, and stand behind the chain.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal

from paceline import plugins
from paceline.core.proposal import Proposal
from paceline.core.protocols import Target
from paceline.core.row import Row
from paceline.drafters._follow import Follower
from paceline.drafters.small_model import SmallModel
from paceline.errors import SpecError
from paceline.lookup.acceptance import RankCalibration
from paceline.lookup.stopping import worthwhile

__all__ = ["Cape"]

BINS = (7, 7, 7, 5, 5, 5, 3, 3, 1, 1)  # the paper's further tokens for a confidence of 0.0 …, 0.1 …, and so on
RANKS = 8  # candidates at a place, the chain's among them

Likely = list[tuple[int, float]]
Price = Callable[[int], float]  # of one more token where there are so many


@dataclass(frozen=True)
class Cape:
    """inner: spec of a drafter that tells how sure it is (glide, longspec, small_model), in brackets where it has options. bins:
    auto, or paper (under sampling the paper's in both: the same seed is to give the same text on another day). The node budget
    is the engine's: the chain comes first, then the leaves, as many as it bears.
    """

    inner: Any = "glide"
    bins: Literal["auto", "paper"] = "auto"

    def attach(self, lm: Target) -> "Comb":
        """The wrapped drafter at work, told to say what else it thought likely."""
        inner = plugins.attached("drafter", self.inner, lm)
        if not isinstance(inner, Follower):
            raise SpecError(f"cape wraps a drafter that tells how sure it is, such as glide or small_model; {self.inner!r} does "
                            "not.")
        if inner.options.beam or inner.options.branch > 1:
            raise SpecError(f"cape widens a chain, and {self.inner!r} drafts a tree already; leave out beam and branch.")
        inner.top = RANKS
        return Comb(inner, lm, self.bins == "auto")


@dataclass
class Asked:
    """A row's last round: what was likely at each place of the chain, and which round it was."""

    round: int = -1
    chain: list[int] = field(default_factory=list)
    likely: list[Likely] = field(default_factory=list)


class Comb:
    """The attached drafter; its memory of a row is what it asked last."""

    def __init__(self, inner: Follower, lm: Target, auto: bool) -> None:
        self.inner, self.lm, self.auto = inner, lm, auto
        self.calibration = RankCalibration(RANKS)
        self.has_model, self.timed, self.steps_to_read = inner.has_model, inner.timed, inner.steps_to_read
        self._rows: dict[int, Asked] = {}

    @property
    def captures(self) -> Collection[str]:
        return self.inner.captures

    def propose(self, rows: Sequence[Row], budgets: Sequence[int]) -> list[Proposal]:
        """The wrapped drafter's proposals with leaves added."""
        for row in rows:
            self._learn(row)
        proposals = self.inner.propose(rows, budgets)
        price = partial(self.lm.costs.further, rows=len(rows), length=max(len(row.tokens) for row in rows))
        return [self._widen(row, proposal, budget, price) for row, proposal, budget in zip(rows, proposals, budgets, strict=True)]

    def forget(self, row: Row) -> None:
        self._rows.pop(row.id, None)
        self.inner.forget(row)

    def _widen(self, row: Row, proposal: Proposal, budget: int, price: Price) -> Proposal:
        if not proposal.is_chain or not len(proposal):
            return proposal
        likely = [told(proposal, place) for place in range(-1, len(proposal) - 1)]
        self._rows[row.id] = Asked(row.stats.rounds, list(proposal.tokens), likely)
        auto = self.auto and row.request.sampling.greedy  # a sampled text must not depend on measurements
        found = self._worthwhile(proposal, likely, price) if auto else by_bins(proposal, likely)
        leaves = found[: max(0, budget - len(proposal))]
        return replace(
            proposal,
            tokens=[*proposal.tokens, *(token for _, token in leaves)],
            parents=[*proposal.parents, *(parent for parent, _ in leaves)],
            drawn=[*proposal.drawn, *[False] * len(leaves)],
            source=[*proposal.source, *["cape"] * len(leaves)],
        )

    def _worthwhile(self, proposal: Proposal, likely: list[Likely], price: Price) -> list[tuple[int, int]]:
        """(parent, token) of the leaves that make the round faster at the price of scoring them beside all before them, best
        first; none where all together do not make up for the chain's being a tree.
        """
        found, reached, tokens, cost = list[tuple[float, int, int]](), 1.0, 1.0, 1.0
        for place, (token, candidates) in enumerate(zip(proposal.tokens, likely, strict=True)):
            chances = self.calibration.of(candidates[0][1]) if candidates else []
            found += [(reached * chance, place - 1, other) for (other, _), chance in zip(candidates, chances, strict=False)
                      if other != token]
            reached *= next((c for (t, _), c in zip(candidates, chances, strict=False) if t == token), 0.5)
            tokens, cost = tokens + reached, cost + price(place + 1)
        found.sort(key=lambda leaf: -leaf[0])
        alone, taken = tokens / cost, 0
        for chance, _, _ in found:
            more = price(len(proposal) + 1 + taken)
            if not worthwhile(chance, more, tokens, cost):
                break
            tokens, cost, taken = tokens + chance, cost + more, taken + 1
        return [leaf[1:] for leaf in found[:taken]] if tokens / (cost + self.lm.costs.branching) > alone else []

    def _learn(self, row: Row) -> None:
        """Every place the target came to tells which rank it took there."""
        asked = self._rows.get(row.id)
        if asked is None or row.last is None or row.stats.rounds != asked.round + 1 or not row.request.sampling.greedy:
            return
        proposal, verdict = row.last.proposal, row.last.verdict
        taken = [*(proposal.tokens[node] for node in verdict.path), verdict.bonus_token]
        for place, candidates in enumerate(asked.likely[: len(taken)]):
            if candidates:
                ranks = [token for token, _ in candidates]
                self.calibration.learn(candidates[0][1], ranks.index(taken[place]) if taken[place] in ranks else None)
            if taken[place] != asked.chain[place]:
                break  # behind a leaf nothing was asked
        asked.round = -1


def told(proposal: Proposal, parent: int) -> Likely:
    """The likeliest tokens after a node of the chain, from what the drafter told or from its law."""
    if parent in proposal.likely:
        return list(proposal.likely[parent])
    if parent not in proposal.distributions:
        return []
    law = proposal.distributions[parent]
    top = law.topk(min(RANKS, len(law)))
    return [(token, share) for token, share in zip(top.indices.tolist(), top.values.tolist(), strict=True) if share > 0]


def by_bins(proposal: Proposal, likely: list[Likely]) -> list[tuple[int, int]]:
    """(parent, token) of the paper's leaves, place by place."""
    found = []
    for place, (token, candidates) in enumerate(zip(proposal.tokens, likely, strict=True)):
        if candidates:
            count = BINS[min(9, int(10 * candidates[0][1]))]
            found += [(place - 1, other) for other, _ in candidates if other != token][:count]
    return found


def tiny(lm: Target) -> Cape:
    return Cape(SmallModel(model=lm, length=3, worth=0.0), bins="paper")
