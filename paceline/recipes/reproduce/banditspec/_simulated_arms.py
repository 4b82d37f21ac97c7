"""Arms whose drafted tokens are each accepted with a fixed chance, and controllers driven on them without a model."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from paceline import plugins
from paceline.core.arms import Arm, Outcome, View

__all__ = ["Arms", "Played", "attached", "microseconds", "play", "switched"]

FAR = 10**9  # tokens left: no round is cut
BLOCK = 1024  # rewards drawn at a time


@dataclass(frozen=True)
class Arms:
    """Truncated geometric arms: a round of arm i gives Y tokens, P(Y = x) = p^(x - 1) (1 - p) up to depth, the rest depth + 1."""

    chances: tuple[float, ...]
    depth: int

    @property
    def means(self) -> np.ndarray:
        """Tokens of a round, [K]."""
        p = np.array(self.chances)
        return (1 - p ** (self.depth + 1)) / (1 - p)

    @property
    def gaps(self) -> np.ndarray:
        """Rounds that a pull loses: 1 - mean / best mean, [K]."""
        return 1 - self.means / self.means.max()

    def rounds(self, tokens: int) -> np.ndarray:
        """Expected rounds of the best arm until there are 0, 1, … tokens, exactly, by renewal: [tokens + 1]."""
        p = max(self.chances)
        law = [p**x * (1 - p) for x in range(self.depth)] + [p**self.depth]
        need = [0.0]
        for n in range(1, tokens + 1):
            need.append(1.0 + sum(chance * need[n - x] for x, chance in enumerate(law, 1) if x < n))
        return np.array(need)

    def stream(self, arm: int, seed: tuple[int, ...]) -> Iterator[int]:
        """Tokens of an arm's rounds one after the other: the same for every controller, since they go by pulls."""
        dice = np.random.default_rng((*seed, arm))
        while True:
            yield from np.minimum(dice.geometric(1 - self.chances[arm], BLOCK), self.depth + 1).tolist()


@dataclass(frozen=True)
class Played:
    """What it took until there were so many tokens: rounds, and pulls by arm."""

    rounds: int
    pulls: tuple[int, ...]


def attached(spec: str, arms: Arms) -> Any:
    """A controller whose drafters are the arms."""
    return plugins.make("controller", spec, budgets=(arms.depth,)).attach(len(arms.chances))


def play(controller: Any, arms: Arms, marks: Sequence[int], row: int, seed: int) -> list[Played]:
    """One text, of as many tokens as the last mark; a state at each mark. The row is forgotten behind it."""
    streams = [arms.stream(i, (seed, row)) for i in range(len(arms.chances))]
    outcomes = _outcomes(arms, row)
    views, pulls, tokens, rounds, found = [View(row, 0, FAR)], [0] * len(streams), 0, 0, []
    for mark in marks:
        while tokens < mark:
            [arm] = controller.pick(views)
            got = next(streams[arm.drafter])
            controller.learn(outcomes[arm.drafter][got])
            pulls[arm.drafter] += 1
            tokens += got
            rounds += 1
        found.append(Played(rounds, tuple(pulls)))
    controller.forget(row)
    return found


def switched(controller: Any, before: Arms, after: Arms, half: int, row: int, seed: int) -> np.ndarray:
    """Arms played, [2 half]; what they earn changes at half time."""
    streams = [[each.stream(i, (seed, row, late)) for i in range(len(each.chances))] for late, each in enumerate((before, after))]
    outcomes, views, played = _outcomes(before, row), [View(row, 0, FAR)], []
    for turn in range(2 * half):
        [arm] = controller.pick(views)
        got = next(streams[turn >= half][arm.drafter])
        controller.learn(outcomes[arm.drafter][got])
        played.append(arm.drafter)
    controller.forget(row)
    return np.array(played)


def microseconds(spec: str, arms: int, rounds: int = 20_000) -> float:
    """What picking and learning take for one row, a round."""
    each = Arms(tuple(np.linspace(0.3, 0.8, arms).tolist()), 4)
    controller = attached(spec, each)
    start = time.perf_counter()
    played = play(controller, each, [2 * rounds], 0, 0)
    return 1e6 * (time.perf_counter() - start) / played[-1].rounds


def _outcomes(arms: Arms, row: int) -> list[dict[int, list[Outcome]]]:
    """What the engine would report, by arm and tokens, made once."""
    depth = arms.depth
    return [{got: [Outcome(row, Arm(i, depth), depth, [d < got - 1 for d in range(depth)], got, 0.0, 0.0, False)]
             for got in range(1, depth + 2)} for i in range(len(arms.chances))]
