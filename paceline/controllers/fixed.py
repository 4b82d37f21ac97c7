"""The first drafter, always, with the same node budget, shared out where many rows are decoded together."""

from collections.abc import Sequence
from dataclasses import dataclass

from paceline.core.arms import Arm, Outcome, View
from paceline.errors import SpecError

__all__ = ["Fixed"]


@dataclass(frozen=True)
class Fixed:
    """budget: most nodes a row may have scored in a round; the drafter's own length limits it further. 0 = never draft.
    together: most nodes of all rows of a round, at least one a row: one row's nodes come almost free with its weights' reading,
    many rows' nodes cost arithmetic. None = 16, or the budget where that is more: right for CPUs; an accelerator bears more. A
    row that is to be drafted for as if `alone` shares nothing. guarded: drafting stops where it does not pay
    (`engine/allowance.py`), as it does under `auto`.
    """

    timed = False

    budget: int = 16
    together: int | None = None
    guarded: bool = False

    def __post_init__(self) -> None:
        if self.budget < 0 or (self.together is not None and self.together < 1):
            raise SpecError(f"fixed needs budget >= 0 and together >= 1; found budget={self.budget}, together={self.together}.")

    def attach(self, drafters: int) -> "Fixed":
        """Nothing is learned, so the options are the controller."""
        return self

    def pick(self, views: Sequence[View]) -> list[Arm]:
        """The same arm for every row, but for those that share nothing."""
        together = max(16, self.budget) if self.together is None else self.together
        shared = min(self.budget, max(1, together // max(1, len(views))))
        return [Arm(0, min(self.budget, together) if view.alone else shared) for view in views]

    def learn(self, outcomes: Sequence[Outcome]) -> None:
        """Nothing to learn."""

    def forget(self, row: int) -> None:
        """Nothing is remembered."""
