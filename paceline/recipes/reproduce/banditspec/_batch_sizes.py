"""Draft lengths as arms while the batch grows, simulated: what is right for one row is wrong for many (after the paper's second
experiment, whose batches are of 1 to 50 rows).

A forward of few tokens takes as long as one of a single token, since the weights have to be read anyway; from some number on
arithmetic counts. So one row drafts for nothing, and a full batch pays for every drafted token in full.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from paceline import plugins
from paceline.core.arms import Arm, Outcome, View

__all__ = ["CHANCE", "KNEE", "LENGTHS", "SIZES", "STEP", "batches", "fixed"]

LENGTHS = tuple(range(7))  # drafted tokens of a round; 0 is plain decoding
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
CHANCE = 0.8  # that a drafted token is accepted, given that those before it were
KNEE = 64  # tokens of a forward from which on arithmetic counts
STEP = 0.05  # a step of the drafter for few rows, in forwards of one token
FAR = 10**9  # tokens left: no round is cut
CONTROLLERS = {
    "UCBSpec, tokens": f"ucb:carry=true,scale=0.2,budgets={list(LENGTHS)}",
    "UCBSpec, net": f"ucb:carry=true,scale=0.2,reward=net,budgets={list(LENGTHS)}",
}  # fmt: skip


def verifying(tokens: int) -> float:
    """Seconds of a forward of so many tokens; one token takes one."""
    return max(1.0, tokens / KNEE)


def drafting(rows: int, length: int) -> float:
    """Seconds in which so many rows draft so many tokens each."""
    return length * STEP * max(1.0, rows / KNEE)


def fixed(rows: int, length: int) -> float:
    """Tokens a second of a draft length that never changes, exactly."""
    mean = (1 - CHANCE ** (length + 1)) / (1 - CHANCE)
    return rows * mean / (verifying(rows * (length + 1)) + drafting(rows, length))


def batches(rounds: int, seeds: int) -> dict[int, dict[str, Any]]:
    """Batch size -> the best fixed length, tokens a second of each length over plain decoding's, and those of every controller
    over the best length's, mean and standard error over seeds; the controllers know nothing at first.
    """
    found = {}
    for rows in SIZES:
        speeds = [fixed(rows, length) / fixed(rows, 0) for length in LENGTHS]
        best = int(np.argmax(speeds))
        reached = {name: [played(spec, rows, rounds, seed) / fixed(rows, best) for seed in range(seeds)]
                   for name, spec in CONTROLLERS.items()}
        found[rows] = {"best": best, "speeds": speeds, "reached": {
            name: {"mean": float(np.mean(each)), "error": float(np.std(each, ddof=1) / len(each) ** 0.5)}
            for name, each in reached.items()}}
    return found


def played(spec: str, rows: int, rounds: int, seed: int) -> float:
    """Tokens a second of a controller that picks the length of every row."""
    controller, dice = plugins.make("controller", spec).attach(1), np.random.default_rng((seed, rows))
    taken = dice.geometric(1 - CHANCE, (rounds, rows)) - 1  # tokens of an endless draft that would be accepted
    views, tokens, seconds = [View(row, 0, FAR) for row in range(rows)], 0, 0.0
    for accepted in taken.tolist():
        arms = controller.pick(views)
        draft = drafting(rows, max(arm.budget for arm in arms))
        verify = verifying(rows + sum(arm.budget for arm in arms))
        outcomes = [outcome(row, arm, min(n, arm.budget), draft / rows if arm.budget else 0.0, verify / rows)
                    for row, (arm, n) in enumerate(zip(arms, accepted, strict=True))]
        controller.learn(outcomes)
        tokens, seconds = tokens + sum(o.tokens for o in outcomes), seconds + draft + verify
    return tokens / seconds


def outcome(row: int, arm: Arm, taken: int, draft: float, verify: float) -> Outcome:
    """What the engine would report."""
    accepted = [depth < taken for depth in range(arm.budget)]
    return Outcome(row, arm, arm.budget, accepted, taken + 1, draft, verify, False, draft + verify)
