"""At which pace a text is written: by the clock of whole rounds, whatever was done in them."""

import math
from dataclasses import dataclass

__all__ = ["Pace", "Paced"]

LONG = 50  # plain steps from which on something else was done between two rounds
KEEP = 0.95  # what a round's pace still weighs one round later
BEGIN = 10.0  # plain steps that the pace of other texts of its kind counts for


@dataclass
class Pace:
    """Tokens of recent rounds, and the plain steps that these took."""

    tokens: float = 0.0
    steps: float = 0.0

    def enter(self, tokens: float, steps: float) -> None:
        """One more round."""
        self.tokens, self.steps = KEEP * self.tokens + tokens, KEEP * self.steps + steps

    @property
    def rate(self) -> float:
        """Tokens in the time of a plain step."""
        return self.tokens / self.steps if self.steps else 1.0


class Paced:
    """A text: its kind's pace (`usual`), its own, which begins as that, and when its last round began, at which length."""

    def __init__(self, usual: Pace) -> None:
        self.usual, self.own = usual, Pace(BEGIN * usual.rate, BEGIN)
        self.then, self.length = -math.inf, 0

    def begin(self, now: float, length: int, plain: float) -> float:
        """A round ends and the next one begins, with a plain step of so many seconds: all that was done in it counts, if nothing
        else was done. Its plain steps.
        """
        steps, tokens = (now - self.then) / plain, length - self.length
        self.then, self.length = now, length
        if steps > LONG:
            return 0.0
        self.usual.enter(tokens, steps)
        self.own.enter(tokens, steps)
        return steps
