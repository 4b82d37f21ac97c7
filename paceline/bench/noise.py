"""Whether a measurement carries a verdict: enough prompts, and a machine on which plain decoding is as fast as itself. Pure.

Plain against plain is a comparison with a known answer (an A/A test): what it shows beside 1 is what the machine makes of no
difference at all, so a gain has to be larger than that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from paceline.bench.metrics import ratio
from paceline.bench.timing import Runs, decoding, rounds, table

__all__ = ["CALM", "PROMPTS", "against_itself", "disagreement", "enough", "hides", "impossible"]

PROMPTS = 8  # where nothing differs, the interval of 3 prompts lies above 1 in one case of seven, that of 8 in one of seventeen
CALM = 0.05  # so much beside 1 is usual where plain decoding is held against itself


def against_itself(plain: Runs) -> dict[str, Any] | None:
    """How fast plain decoding was in even repeats (methods forwards) against odd ones (backwards); None for one repeat."""
    groups = range(len(plain.batches))
    if len(plain.batches[0]) < 2:
        return None
    even, odd = (Runs([calls[start::2] for calls in plain.batches]) for start in (0, 1))
    return ratio(table(even, groups), table(odd, groups))


def disagreement(noise: dict[str, Any]) -> float:
    """How far from 1 a figure that should be 1 may lie, by its interval: 0.05 = five percent, up or down."""
    edges = [edge for edge in noise.values() if edge is not None]
    return max(max(edge, 1 / edge) for edge in edges) - 1


def hides(noise: dict[str, Any] | None, claim: float) -> bool:
    """True when the machine is too noisy for a speed-up of `claim`: its repeats disagree by more than that, and by much."""
    spread = disagreement(noise) if noise else 0.0
    return spread > CALM and spread >= max(claim, 1 / claim) - 1


def enough(rows: int = 1) -> int:
    """Prompts that a verdict takes: of several decoded together two groups at least, since one has no interval."""
    return max(PROMPTS, 2 * rows)


def impossible(runs: Runs, plain: Runs, groups: Sequence[int]) -> bool:
    """True when rounds came out quicker than plain ones of the same forward, beyond the interval (of one prompt, by more than is
    usual): noise, since each has a forward of at least as many tokens. Speed is then above acceptance.
    """
    ours, theirs = (np.column_stack([decoding(each, groups)[:, 0], rounds(each, groups)[:, 0]]) for each in (runs, plain))
    pace = ratio(ours, theirs)
    return bool(pace["value"] > 1.0 + CALM if pace["low"] is None else pace["low"] > 1.0)
