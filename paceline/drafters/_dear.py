"""What a drafter with a model is worth beside others that cost next to nothing: what asking it adds, and what that takes."""

import statistics
from collections import defaultdict, deque
from dataclasses import dataclass, field

__all__ = ["Added", "Dear"]

FIRST = 4  # questions before what it adds is known
OFTEN, LATELY = 8, 0.1  # questions for a row, at first, and the weight of the last row in that
RECENT = 15  # questions of which one's time is the median
KEEP = 0.95  # what a question still weighs one question later


@dataclass
class Added:
    """What asking a drafter has added of late: tokens of a round, and what scoring its nodes costs in plain steps."""

    times: int = 0
    weight: float = 0.0
    tokens: float = 0.0
    cost: float = 0.0

    def enter(self, tokens: float, cost: float) -> None:
        """It was asked once more."""
        self.times += 1
        self.weight = KEEP * self.weight + 1
        self.tokens += (tokens - self.tokens) / self.weight
        self.cost += (cost - self.cost) / self.weight


@dataclass
class Dear:
    """A drafter with a model: what it has added, by what was expected without it; and the plain steps that a question takes, and
    the first one of a row, for which it reads the prompt: medians, since the very first ones measure what later ones then know.
    asked: questions for each row; usual: for one that has ended.
    """

    added: dict[int, Added] = field(default_factory=lambda: defaultdict(Added))
    taken: tuple[deque[float], deque[float]] = field(default_factory=lambda: (deque(maxlen=RECENT), deque(maxlen=RECENT)))
    steps: float = 0.0
    first: float = 0.0
    asked: dict[int, int] = field(default_factory=dict)
    usual: float = OFTEN

    def trade(self, row: int, size: int, pace: float) -> tuple[float, float]:
        """What asking adds and what it costs, in plain steps, where a step gives so many tokens; the reading of a prompt is
        spread over as many questions as usual.
        """
        added = self.added[size]
        reading = 0.0 if row in self.asked else max(0.0, self.first - self.steps) / self.usual
        return added.tokens / pace, added.cost + self.steps + reading

    def knows(self, size: int) -> bool:
        """Whether it was asked often enough where so much was expected."""
        return self.added[size].times >= FIRST

    def enter(self, row: int, steps: float) -> None:
        """A question for a row took so long."""
        self.taken[row not in self.asked].append(steps)
        self.steps, self.first = (statistics.median(each) if each else 0.0 for each in self.taken)
        self.asked[row] = self.asked.get(row, 0) + 1

    def forget(self, row: int) -> None:
        """A row has ended."""
        if row in self.asked:
            self.usual += LATELY * (self.asked.pop(row) - self.usual)
