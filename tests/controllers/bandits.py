"""What the tests of bandits share: truncated geometric arms, and a controller driven without a model."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from paceline.core.arms import Arm, Outcome, View

__all__ = ["DEPTH", "FAR", "Geometric", "mean", "outcome", "play"]

DEPTH = 4
FAR = 10**9  # tokens left


def outcome(arm: Arm, tokens: int, row: int = 0, draft: float = 0.001, verify: float = 0.01, truncated: bool = False) -> Outcome:
    accepted = [i < tokens - 1 for i in range(arm.budget)]
    return Outcome(row, arm, arm.budget, accepted, tokens, draft, verify, truncated)


def mean(p: float, depth: int = DEPTH) -> float:
    """Tokens of a round where each drafted token is accepted with chance p while all before it were."""
    return (1 - p ** (depth + 1)) / (1 - p)


class Geometric:
    """Rewards of arms with such chances."""

    def __init__(self, chances: Sequence[float], seed: int, depth: int = DEPTH) -> None:
        self.chances, self.depth, self._random = chances, depth, random.Random(seed)

    def __call__(self, arm: int) -> int:
        tokens = 1
        while tokens <= self.depth and self._random.random() < self.chances[arm]:
            tokens += 1
        return tokens


def play(
    controller: Any, rewards: Callable[[int], int], rounds: int = FAR, tokens: int = FAR, row: int = 0
) -> tuple[list[int], int]:
    """Arms played and tokens gained, over so many rounds or until there are so many tokens; an arm is a drafter."""
    arms, gained = [], 0
    while len(arms) < rounds and gained < tokens:
        [arm] = controller.pick([View(row, gained, FAR)])
        got = rewards(arm.drafter)
        controller.learn([outcome(arm, got, row)])
        arms.append(arm.drafter)
        gained += got
    return arms, gained
