"""The first drafter, always, with the same node budget."""

from collections.abc import Sequence
from dataclasses import dataclass

from paceline.arm import Arm, Outcome, View
from paceline.errors import SpecError

__all__ = ["Fixed"]


@dataclass(frozen=True)
class Fixed:
    """budget: most nodes a row may have scored in a round; the drafter's own length limits it further. 0 = never draft."""

    budget: int = 16

    def __post_init__(self) -> None:
        if self.budget < 0:
            raise SpecError(f"fixed:budget must be 0 or more; found {self.budget}.")

    def pick(self, views: Sequence[View]) -> list[Arm]:
        """The same arm for every row."""
        return [Arm(0, self.budget)] * len(views)

    def learn(self, outcomes: Sequence[Outcome]) -> None:
        """Nothing to learn."""
