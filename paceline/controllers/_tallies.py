"""What the cost controller keeps of its arms: tokens and seconds of their rounds, and of a text which arms it has met."""

import math
from collections import deque
from dataclasses import dataclass, field

__all__ = ["Seconds", "Tally", "Text"]

RECENT = 31  # rounds whose seconds count
SLOW = 3.0  # times the median beyond which a round's seconds tell of the machine, not of the arm
SPREAD, ENOUGH = 1.0, 24  # standard deviation of a round's tokens where fewer rounds than these were seen


@dataclass
class Tally:
    """Rounds, their tokens and the squares of these, the older the lighter."""

    rounds: float = 0.0
    tokens: float = 0.0
    squares: float = 0.0

    def add(self, tokens: float, fade: float = 1.0) -> None:
        self.rounds, self.tokens = self.rounds * fade + 1, self.tokens * fade + tokens
        self.squares = self.squares * fade + tokens**2

    @property
    def spread(self) -> float:
        """Standard deviation of a round's tokens."""
        if self.rounds < ENOUGH:
            return SPREAD
        return math.sqrt(max(0.0, self.squares / self.rounds - (self.tokens / self.rounds) ** 2))


@dataclass
class Seconds:
    """Of the recent rounds of an arm: the whole round, and its drafting where nothing had to be caught up."""

    whole: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    draft: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    _mean: float | None = None

    def add(self, seconds: float) -> None:
        """Enter a whole round."""
        self.whole.append(seconds)
        self._mean = None

    @property
    def mean(self) -> float:
        """Of the whole, without what slow rounds took beyond reason."""
        if self._mean is None:
            ordered = sorted(self.whole)
            most = SLOW * ordered[(len(ordered) - 1) // 2]
            self._mean = sum(x if x < most else most for x in ordered) / len(ordered)
        return self._mean


@dataclass
class Text:
    """One row: a tally for each arm, those that have caught up with it, its rounds so far, and the arm that is kept to until so
    many.
    """

    tallies: list[Tally]
    begun: set[int] = field(default_factory=set)
    rounds: int = 0
    arm: int = 0
    until: int = 0
