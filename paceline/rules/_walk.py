"""The walk that all rules share: down the tree, level by level, siblings in drawing order.

At a level the target's law is `rest`, a sibling's law is `q` (one-hot where it was chosen) and it is accepted with a chance f of
its token. So the mass q f is *taken* by acceptance, and a rejection goes on with a law of what is *left*. A level that takes more
of some token than the target has there departs from the target's law by that much, exactly: the total variation between the law
of its outcome and `rest` is the sum over tokens of [q f + r G - rest]+, r being the chance of a rejection and G what follows it.
That is what a level has *spent*. Expected sums of it bound the total variation of whole texts, since each further level is judged
given the tokens before it (coupling; Theorem 2 of COOL-SD, arXiv 2601.09212, gives the same for chains in one round).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch

from paceline.core.proposal import Proposal, Verdict
from paceline.core.request import Request
from paceline.core.row import Row
from paceline.core.sampling import Dice, Scores
from paceline.errors import RequestError

__all__ = ["Place", "Split", "best", "exact", "refuse_exactness", "siblings", "walk"]


@dataclass
class Place:
    """Where a walk stands: the nodes accepted so far, and what this round has spent."""

    scores: Scores
    proposal: Proposal
    row: Row
    path: list[int] = field(default_factory=list)
    spent: float = 0.0

    @property
    def node(self) -> int:
        return self.path[-1] if self.path else -1

    @property
    def position(self) -> int:
        return len(self.row.tokens) + len(self.path)

    @property
    def law(self) -> torch.Tensor:
        """The target's law [V] after the last accepted node."""
        return self.scores.p(self.node)


@dataclass(frozen=True)
class Split:
    """What trying one sibling does: `taken` [V] is q f, `left` [V] what a rejection goes on with (need not be normalised)."""

    taken: torch.Tensor
    left: torch.Tensor
    spent: float = 0.0


Step = Callable[[Place], tuple[int | None, int]]
Splitting = Callable[[torch.Tensor, torch.Tensor, int, int], Split]  # of (rest, q, token, which sibling)


def walk(scores: Scores, proposal: Proposal, row: Row, step: Step) -> Verdict:
    """Levels until one ends the round. `step` gives (accepted child, its token) or (None, the extra token)."""
    place = Place(scores, proposal, row)
    while True:
        child, token = step(place)
        if child is None:
            return Verdict(place.path, token, place.spent)
        place.path.append(child)


def exact(place: Place) -> tuple[int | None, int]:
    """A level with the target's own law; where every child is chosen, one draw at the position decides (invariant 3)."""
    scores, proposal, node = place.scores, place.proposal, place.node
    children = proposal.children(node)
    if scores.sampling.greedy or not any(proposal.drawn[c] for c in children):
        end = (Dice.VERIFY, place.position, Dice.DRAW)
        token = scores.best(node) if scores.sampling.greedy else place.row.dice.draw(place.law, end)
        return next((c for c in children if proposal.tokens[c] == token), None), token
    # min(q, rest) is taken; rest says the same, since a chance is at most 1
    return siblings(place, lambda rest, q, token, sibling: Split(rest, (rest - q).clamp_min(0.0)))


def siblings(place: Place, split: Splitting) -> tuple[int | None, int]:
    """Try the siblings in order: accept with the chance f that is taken of q, else go on with what is left."""
    proposal, position, dice = place.proposal, place.position, place.row.dice
    rest, law = place.law, proposal.distributions.get(place.node)
    for sibling, child in enumerate(proposal.children(place.node)):
        token, drawn = proposal.tokens[child], proposal.drawn[child]
        q = law.to(rest) if law is not None and drawn else one_hot(rest, token)
        part = split(rest, q, token, sibling)
        place.spent += part.spent
        chance = min(1.0, float(part.taken[token] / q[token])) if float(q[token]) > 0 else 0.0
        total = float(part.left.sum())
        if dice.flip(chance, (Dice.VERIFY, position, sibling)) or total == 0.0:
            return child, token  # nothing left to draw from means that all was taken, up to rounding
        rest = part.left / total
        if law is not None and drawn:
            law = without(law, token)
    return None, dice.draw(rest, (Dice.VERIFY, position, Dice.DRAW))


def best(rest: torch.Tensor, taken: torch.Tensor) -> Split:
    """The split that spends least for what is taken: a rejection draws from [rest - taken]+ (COOL-SD, Theorem 2).

    Spent is the overshoot, the sum of [taken - rest]+: no other law after a rejection departs less.
    """
    return Split(taken, (rest - taken).clamp_min(0.0), float((taken - rest).clamp_min(0.0).sum()))


def refuse_exactness(rule: str, request: Request) -> None:
    """Raise RequestError for what a relaxed rule cannot keep: greedy decoding, and a seed's very text."""
    if request.sampling.greedy:
        raise RequestError(f"The rule {rule} relaxes sampling, and at temperature 0 there is nothing to relax: one token "
                           "has all of the law. Set a temperature above 0, or use the rule lossless.")
    if request.reproducible:
        raise RequestError(f"reproducible=True promises plain decoding's very text, which the rule {rule} does not write. "
                           "Leave one of the two out.")


def one_hot(like: torch.Tensor, token: int) -> torch.Tensor:
    """The law [V] of a chosen node."""
    return torch.zeros_like(like).scatter_(0, torch.tensor(token, dtype=torch.long, device=like.device), 1.0)


def without(law: torch.Tensor, token: int) -> torch.Tensor:
    """The law of the next sibling drawn without replacement: `token` taken out, renormalised."""
    law = law.clone()
    law[token] = 0.0
    return law / law.sum().clamp_min(torch.finfo(law.dtype).tiny)
