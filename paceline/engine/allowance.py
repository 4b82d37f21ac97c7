"""Never slower: what drafting may lose of a text's time before it has to stop. A token bucket; its unit is one plain step.

A round that gives more tokens than plain decoding writes in its time fills the bucket, one that gives fewer empties it, and every
step adds a little. An empty bucket means plain decoding until enough has come in for another try. So drafting loses at most SLACK
of the time, START steps and one round, whatever it does, and tries again the seldomer the less it has paid; no statistics of
drafters are needed. A round gives one token or many, so a bucket must bear a run of bad ones: the first try may lose more than
later ones, and what texts have gained is there for the next. (Simulated in `tests/engine/test_allowance.py`.)
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from paceline.controllers.fixed import Fixed
from paceline.core.arms import Arm, Outcome, View
from paceline.lm.plain_steps import PlainSteps

__all__ = ["Allowance", "Guarded", "Pool"]

SLACK = 0.015  # share of the time that may be lost for good
START, TRY, CAP = 6.0, 2.0, 16.0  # plain steps that the first try may lose, that a later one may, and the most saved up
TIMED = 64  # rounds after which a plain one is timed again
USUAL = 15  # drafted rounds whose median is the usual one


@dataclass
class Credit:
    """Plain steps that a text's drafting may still lose; asleep = it decodes plainly until TRY of them are there."""

    steps: float
    asleep: bool

    def enter(self, gain: float) -> None:
        """A round has gained so many steps, or lost them."""
        self.steps = min(CAP, self.steps + gain)
        self.asleep = self.steps < 0 or (self.asleep and self.steps < TRY)


@dataclass
class Pool:
    """Plain steps that are left for new texts; of a model, so that engines which come and go share it."""

    steps: float = START


class Allowance:
    """Credit by text, and the pool that texts share: a new text begins with what others have left."""

    def __init__(self, pool: Pool | None = None) -> None:
        self.pool = pool or Pool()
        self._texts: dict[int, Credit] = {}

    def asleep(self, text: int) -> bool:
        """Whether this text is to be decoded plainly now."""
        return self._of(text).asleep

    def settle(self, text: int, tokens: int, steps: float) -> None:
        """Enter a round: its tokens, and its time in plain steps, 1 and 1 where it was plain.

        A round loses TRY at most: what takes longer was the machine's doing, or is done once, like reading a prompt.
        """
        steps = min(steps, tokens + TRY)
        gain = SLACK * steps + tokens - steps
        self._of(text).enter(gain)
        self.pool.steps = min(CAP, self.pool.steps + gain)

    def forget(self, text: int) -> None:
        """Drop a text that has ended."""
        self._texts.pop(text, None)

    def _of(self, text: int) -> Credit:
        if text not in self._texts:
            credit = max(0.0, self.pool.steps)
            self._texts[text] = Credit(credit, credit < TRY / 2)
        return self._texts[text]


class Guarded:
    """A controller behind an allowance: its arm, or plain decoding for a text that is asleep, and for all where a plain step is
    to be timed: in the first few rounds of so many rows in a process, and every TIMED rounds. It reads the clock, so drafts of
    a row with a seed are chosen, not drawn. plain: what a plain step takes.
    """

    timed = True

    def __init__(self, inner: Fixed, plain: PlainSteps, pool: Pool | None = None) -> None:
        self.inner, self.plain, self.allowance = inner, plain, Allowance(pool)
        self._since = 0  # rounds since a plain one
        self._begun = False  # whether any round was drafted for: the first holds what is done once
        self._usual = deque[float](maxlen=USUAL)  # plain steps that drafted rounds took, first ones of a text aside
        self._met = set[int]()  # texts for which a round was drafted
        self._length = 0  # of the longest text of this round

    def pick(self, views: Sequence[View]) -> list[Arm]:
        """An arm for each row; a budget of 0 means that no drafter is asked."""
        self._length = max((view.length for view in views), default=0)
        due = self._since >= TIMED or not self.plain.known(len(views))
        return [Arm(arm.drafter, 0) if due or self.allowance.asleep(view.row) else arm
                for view, arm in zip(views, self.inner.pick(views), strict=True)]

    def learn(self, outcomes: Sequence[Outcome]) -> None:
        """Enter a round of all its rows."""
        plainly = all(outcome.arm.budget == 0 for outcome in outcomes)
        self._since = 0 if plainly else self._since + 1
        if plainly:
            self.plain.enter(len(outcomes), self._length, sum(outcome.seconds for outcome in outcomes))
        step = self.plain.seconds(len(outcomes), self._length) / len(outcomes)
        for outcome in outcomes if plainly or self._begun else ():
            steps = outcome.seconds / step if outcome.arm.budget else 1.0
            self.allowance.settle(outcome.row, outcome.tokens, self._warm(outcome, steps))
        self._begun = self._begun or not plainly

    def _warm(self, outcome: Outcome, steps: float) -> float:
        """A round's plain steps; of a text's first one no more than is usual, since its prompt has driven the weights out of the
        processor's cache, as it would for a plain step.
        """
        if not outcome.arm.budget:
            return steps
        if outcome.row in self._met:
            self._usual.append(steps)
            return steps
        self._met.add(outcome.row)
        return min(steps, median(self._usual)) if self._usual else steps

    def forget(self, row: int) -> None:
        """Drop a row that has ended; the pool stays."""
        self.allowance.forget(row)
        self._met.discard(row)
