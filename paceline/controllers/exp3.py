"""EXP3Spec (arXiv 2505.15141): arms drawn by weights that shrink with what they lost; needs no law behind the rewards.

The loss of a round is how far its tokens fall short of L + 1. An arm's estimated loss is what it lost over its chance to be
drawn, which is right on average though the other arms were not seen.
"""

import math
from dataclasses import dataclass
from random import Random

from paceline.controllers._arms import Bandit, Pull, Reward, bandit, check

__all__ = ["Exp3"]


@dataclass(frozen=True)
class Exp3:
    """budgets, depth, reward, carry, seed and log: as for `ucb`. The paper's step size (section 5) needs no option.

    Departures: rounds that a stop cut, or whose budget reaches beyond the tokens left, teach nothing. Under reward=speed or net a
    loss is taken against the largest reward so far, so early losses are small; losses outside [0, 1], which a `depth` that is
    too small gives, are clipped. Raises SpecError for bad values.
    """

    budgets: tuple[int, ...] = (16,)
    depth: int | None = None
    reward: Reward = "tokens"
    carry: bool = False
    seed: int = 0
    log: str | None = None

    def __post_init__(self) -> None:
        check("exp3", self)

    def attach(self, drafters: int) -> Bandit:
        """The controller at work, for so many drafters."""
        return bandit(self, drafters, Weights)


class Weights:
    """Estimated losses by arm, summed. The step size sqrt(ln K / (t K)) needs no horizon."""

    def __init__(self, arms: int, random: Random) -> None:
        self.losses, self.rounds = [0.0] * arms, 0
        self._arms, self._random = range(arms), random

    @property
    def eta(self) -> float:
        """Of the round to come; 0 where there is one arm."""
        arms = len(self.losses)
        return math.sqrt(math.log(arms) / ((self.rounds + 1) * arms))

    def chances(self) -> list[float]:
        """A law over the arms; losses are taken beyond the least, so that nothing overflows."""
        least, eta = min(self.losses), self.eta
        weights = [math.exp(-eta * (loss - least)) for loss in self.losses]
        total = sum(weights)
        return [w / total for w in weights]

    def choose(self, width: float, turn: int) -> Pull:
        """An arm by its chance."""
        chances = self.chances()
        arm = self._random.choices(self._arms, chances)[0]
        return Pull(arm, chances[arm])

    def update(self, pull: Pull, value: float, loss: float) -> None:
        """Add the loss over the chance that the arm had when it was drawn."""
        self.losses[pull.arm] += loss / pull.chance
        self.rounds += 1
