"""Speculative sampling on token trees: what comes out has exactly the target's law (greedy: its very tokens).

One walk serves chains, trees, siblings drawn with or without replacement, chosen nodes and temperature 0: try siblings in
drawing order, accept with min(1, p / q), else subtract q and renormalise; a chosen node has a one-hot q.
Sources: Leviathan et al. 2023 (chains); Miao et al. 2024, SpecInfer, and Chen et al. 2024, Sequoia (siblings).
"""

import torch

from paceline.proposal import Proposal, Verdict
from paceline.sampling import Dice, Scores

__all__ = ["lossless"]


def lossless(scores: Scores, proposal: Proposal, row) -> Verdict:
    """Accept the longest path the target's law allows and draw the one extra token.

    scores: laws [V] after every node. row: gives the noise, keyed by absolute position and sibling. Where every child is chosen,
    one draw at the position decides, so a seed gives plain decoding's very text (invariant 3).
    """
    path: list[int] = []
    node, position = -1, len(row.tokens)
    while True:
        child, token = _step(scores, proposal, row, node, position)
        if child is None:
            return Verdict(path, token)
        path.append(child)
        node = child
        position += 1


def _step(scores: Scores, proposal: Proposal, row, node: int, position: int) -> tuple[int | None, int]:
    """One level of the walk: (accepted child, its token) or (None, the extra token)."""
    children = proposal.children(node)
    if scores.sampling.greedy or not any(proposal.drawn[c] for c in children):
        end = (Dice.VERIFY, position, Dice.DRAW)
        token = scores.best(node) if scores.sampling.greedy else row.dice.draw(scores.p(node), end)
        return next((c for c in children if proposal.tokens[c] == token), None), token
    rest = scores.p(node)
    q = proposal.laws[node].to(rest)
    for sibling, child in enumerate(children):
        token = proposal.tokens[child]
        law = q if proposal.drawn[child] else one_hot(rest, token)
        ratio = float(rest[token] / law[token]) if float(law[token]) > 0 else 0.0
        left = (rest - law).clamp_min(0.0)
        total = float(left.sum())
        if row.dice.flip(min(1.0, ratio), (Dice.VERIFY, position, sibling)) or total == 0.0:
            return child, token  # nothing left to draw from means p equals q up to rounding
        rest = left / total
        if proposal.drawn[child]:
            q = without(q, token)
    return None, row.dice.draw(rest, (Dice.VERIFY, position, Dice.DRAW))


def one_hot(like: torch.Tensor, token: int) -> torch.Tensor:
    """The law [V] of a chosen node."""
    return torch.zeros_like(like).scatter_(0, torch.tensor(token, device=like.device), 1.0)


def without(law: torch.Tensor, token: int) -> torch.Tensor:
    """The law of the next sibling drawn without replacement: `token` taken out, renormalised."""
    law = law.clone()
    law[token] = 0.0
    return law / law.sum().clamp_min(torch.finfo(law.dtype).tiny)
