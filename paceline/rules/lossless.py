"""Speculative sampling on token trees: what comes out has exactly the target's law (greedy: its very tokens).

One walk serves chains, trees, siblings drawn with or without replacement, chosen nodes and temperature 0: try siblings in
drawing order, accept with min(1, p / q), else subtract q and renormalise; a chosen node has a one-hot q.
Sources: Leviathan et al. 2023 (chains); Miao et al. 2024, SpecInfer, and Chen et al. 2024, Sequoia (siblings).
"""

from paceline.core.proposal import Proposal, Verdict
from paceline.core.row import Row
from paceline.core.sampling import Scores
from paceline.rules._walk import exact, walk

__all__ = ["lossless"]


def lossless(scores: Scores, proposal: Proposal, row: Row) -> Verdict:
    """Accept the longest path the target's law allows and draw the one extra token.

    scores: laws [V] after every node. row: gives the noise, keyed by absolute position and sibling. Where every child is chosen,
    one draw at the position decides, so a seed gives plain decoding's very text (invariant 3).
    """
    return walk(scores, proposal, row, exact)
