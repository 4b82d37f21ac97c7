"""No draft: every round is plain decoding."""

from collections.abc import Sequence
from dataclasses import dataclass

from paceline.core.proposal import Proposal
from paceline.core.protocols import Target
from paceline.core.row import Row

__all__ = ["NoDraft"]


@dataclass(frozen=True)
class NoDraft:
    """Proposes nothing; the baseline every other drafter is measured against."""

    captures, has_model, timed = (), False, False

    def attach(self, lm: Target) -> "NoDraft":
        return self

    def propose(self, rows: Sequence[Row], budgets: Sequence[int]) -> list[Proposal]:
        """An empty proposal for every row."""
        return [Proposal() for _ in rows]

    def forget(self, row: Row) -> None:
        """Nothing is remembered."""


def tiny(lm: Target) -> NoDraft:
    return NoDraft()
