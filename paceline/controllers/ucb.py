"""UCBSpec (arXiv 2505.15141): the arm whose tokens a round may, within a confidence radius, be the most.

An arm is a drafter with a node budget. Each is tried once; then every round takes the largest mean plus radius, so arms that look
poor are tried ever less often, and the rounds lost against the best arm grow with the logarithm of the text's length only.
"""

import math
from collections import deque
from dataclasses import dataclass
from random import Random

from paceline.controllers._arms import Bandit, Pull, Reward, bandit, check
from paceline.errors import SpecError

__all__ = ["Ucb"]

FADED = 1e-9  # pulls below which a discounted arm counts as untried


@dataclass(frozen=True)
class Ucb:
    """budgets: most nodes a round may have scored. Arms are every drafter with every budget; 0 stands for plain decoding, one arm
    however many drafters there are. depth: L, the most tokens of a draft that can be accepted (None = the largest budget); the
    radius grows with it, so give it where drafts are shorter than the budget, or trees. scale: times the paper's radius; 1 is
    exact, and far too wide for a few hundred rounds, where 0.1 to 0.3 serves; 0 never explores after one try of each arm.
    delta: the confidence parameter in (0, 1). reward: tokens of a round (the paper's), speed (tokens for each second of it) or
    net (the same by running medians of seconds). carry: one set of statistics for all rows, kept when they end; otherwise each
    row begins anew, as in the paper. discount: what a round's weight shrinks by with each later one, 1 = nothing is forgotten.
    window: the last so many rounds alone, 0 = all. seed: of ties, keyed by row too. log: a file that receives every round as a
    line of JSON, begun anew each time.

    Departures: rounds that a stop cut, or whose budget reaches beyond the tokens left, teach nothing (they would pull an arm's
    mean down); under a discount or a window the paper's radius is used with what is left of the counts. Rows decoded together
    that share statistics take untried arms in turn. Under speed and net the arms, and with them where a drafter draws its
    drafts the sample of a seed, depend on timings. Raises SpecError for bad values.
    """

    budgets: tuple[int, ...] = (16,)
    depth: int | None = None
    scale: float = 1.0
    delta: float = 0.5
    reward: Reward = "tokens"
    carry: bool = False
    discount: float = 1.0
    window: int = 0
    seed: int = 0
    log: str | None = None

    def __post_init__(self) -> None:
        check("ucb", self)
        if not (0.0 <= self.scale < math.inf and 0.0 < self.delta < 1.0):
            raise SpecError(f"ucb needs scale >= 0 and 0 < delta < 1; found scale={self.scale}, delta={self.delta}.")
        if not 0.0 < self.discount <= 1.0 or self.window < 0 or (self.window and self.discount < 1.0):
            raise SpecError(f"ucb needs 0 < discount <= 1 and window >= 0, and only one of them to forget by; found "
                            f"discount={self.discount}, window={self.window}.")

    def attach(self, drafters: int) -> Bandit:
        """The controller at work, for so many drafters. Raises SpecError where a window is shorter than one try of each arm."""
        made = bandit(self, drafters, lambda arms, random: Counts(self, arms, random))
        if 0 < self.window < len(made.arms):
            raise SpecError(f"ucb needs a window of at least its {len(made.arms)} arms (drafters times budgets); found "
                            f"window={self.window}.")
        return made


def radius(width: float, arms: int, rounds: float, pulls: float, delta: float) -> float:
    """The paper's confidence radius (section 4) after so many rounds, for an arm pulled so often; rewards span `width`, which is
    L, and are sub-Gaussian with half of it.
    """
    inside = 1.0 + 2.0 * math.log(arms * rounds * rounds * math.sqrt(1.0 + pulls) / delta)
    return width / 2.0 * math.sqrt((1.0 + pulls) / (pulls * pulls) * inside)


class Counts:
    """Pulls and earnings by arm."""

    def __init__(self, options: Ucb, arms: int, random: Random) -> None:
        self.options, self._random = options, random
        self.pulls, self.sums = [0.0] * arms, [0.0] * arms
        self._recent: deque[tuple[int, float]] = deque()

    def choose(self, width: float, turn: int) -> Pull:
        """An untried arm, else the largest index; equal ones by lot."""
        untried = [arm for arm, pulls in enumerate(self.pulls) if pulls < FADED]
        if untried:
            return Pull(untried[turn % len(untried)])
        arms, rounds = len(self.pulls), sum(self.pulls)
        width, delta = width * self.options.scale, self.options.delta
        index = [s / n + radius(width, arms, rounds, n, delta) for s, n in zip(self.sums, self.pulls, strict=True)]
        most = max(index)
        best = [arm for arm, value in enumerate(index) if value == most]
        return Pull(best[0] if len(best) == 1 else self._random.choice(best))

    def update(self, pull: Pull, value: float, loss: float) -> None:
        """Add a round, after what is older has faded."""
        if self.options.discount < 1.0:
            self.pulls = [n * self.options.discount for n in self.pulls]
            self.sums = [s * self.options.discount for s in self.sums]
        self._add(pull.arm, 1.0, value)
        if self.options.window:
            self._recent.append((pull.arm, value))
            if len(self._recent) > self.options.window:
                arm, old = self._recent.popleft()
                self._add(arm, -1.0, -old)

    def _add(self, arm: int, pulls: float, value: float) -> None:
        self.pulls[arm] += pulls
        self.sums[arm] += value
