"""A random arm every round: what a bandit has to beat, and the hardest switching that drafters can meet."""

from dataclasses import dataclass
from random import Random

from paceline.controllers._arms import Bandit, Pull, Reward, bandit, check

__all__ = ["Uniform"]


@dataclass(frozen=True)
class Uniform:
    """budgets, seed and log: as for `ucb`. Nothing is learned: depth and reward change nothing, and carry only whether all rows
    draw from one sequence. Raises SpecError for bad values.
    """

    budgets: tuple[int, ...] = (16,)
    depth: int | None = None
    reward: Reward = "tokens"
    carry: bool = False
    seed: int = 0
    log: str | None = None

    def __post_init__(self) -> None:
        check("uniform", self)

    def attach(self, drafters: int) -> Bandit:
        """The controller at work, for so many drafters."""
        return bandit(self, drafters, Lots)


class Lots:
    """Every arm with the same chance."""

    def __init__(self, arms: int, random: Random) -> None:
        self._arms, self._random = arms, random

    def choose(self, width: float, turn: int) -> Pull:
        return Pull(self._random.randrange(self._arms), 1 / self._arms)

    def update(self, pull: Pull, value: float, loss: float) -> None:
        """Nothing is learned."""
