"""Never slower: what drafting may lose of a text's time before it has to stop. A token bucket; its unit is one plain step.

A round that gives more tokens than plain decoding writes in its time fills the bucket, one that gives fewer empties it, and every
step adds a little. An empty bucket means plain decoding until enough has come in for another try. So drafting loses at most SLACK
of the time, TRY steps and one round, whatever it does, and tries again the seldomer the less it has paid; no statistics of
drafters are needed. (Simulated in `tests/engine/test_allowance.py`.)
"""

from collections.abc import Sequence
from dataclasses import dataclass

from paceline.controllers.fixed import Fixed
from paceline.core.arms import Arm, Outcome, View
from paceline.lm.cost import PlainSteps

__all__ = ["Allowance", "Guarded"]

SLACK = 0.015  # share of the time that may be lost for good
TRY, CAP = 2.0, 8.0  # plain steps that a try may lose, and the most that is saved up
TIMED = 64  # rounds after which a plain one is timed again


@dataclass
class Credit:
    """Plain steps that a text's drafting may still lose; asleep = it decodes plainly until TRY of them are there."""

    steps: float
    asleep: bool

    def enter(self, gain: float) -> None:
        """A round has gained so many steps, or lost them."""
        self.steps = min(CAP, self.steps + gain)
        self.asleep = self.steps < 0 or (self.asleep and self.steps < TRY)


class Allowance:
    """Credit by text, and the pool that texts share: a new text begins with what others have left."""

    def __init__(self) -> None:
        self.pool = TRY
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
        self.pool = min(CAP, self.pool + gain)

    def forget(self, text: int) -> None:
        """Drop a text that has ended."""
        self._texts.pop(text, None)

    def _of(self, text: int) -> Credit:
        if text not in self._texts:
            credit = max(0.0, min(self.pool, TRY))
            self._texts[text] = Credit(credit, credit < TRY / 2)
        return self._texts[text]


class Guarded:
    """A controller behind an allowance: its arm, or plain decoding for a text that is asleep, and for all where a plain step is
    to be timed: in the first few rounds of so many rows in a process, and every TIMED rounds. It reads the clock, so drafts of
    a row with a seed are chosen, not drawn. plain: what a plain step takes.
    """

    timed = True

    def __init__(self, inner: Fixed, plain: PlainSteps) -> None:
        self.inner, self.plain, self.allowance = inner, plain, Allowance()
        self._since = 0  # rounds since a plain one
        self._begun = False  # whether any round was drafted for: the first holds what is done once
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
            self.allowance.settle(outcome.row, outcome.tokens, outcome.seconds / step if outcome.arm.budget else 1.0)

        self._begun = self._begun or not plainly

    def forget(self, row: int) -> None:
        """Drop a row that has ended; the pool stays."""
        self.allowance.forget(row)
