"""No draft: every round is plain decoding."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from paceline.core.proposal import Proposal
from paceline.core.row import Row

__all__ = ["NoDraft"]


@dataclass(frozen=True)
class NoDraft:
    """Proposes nothing; the baseline every other drafter is measured against."""

    captures, has_model, timed = (), False, False

    def attach(self, lm: Any) -> "NoDraft":
        return self

    def propose(self, rows: Sequence[Row], budgets: Sequence[int]) -> list[Proposal]:
        """An empty proposal for every row."""
        return [Proposal() for _ in rows]

    def forget(self, row: Row) -> None:
        """Nothing is remembered."""


def tiny(lm: Any) -> NoDraft:
    return NoDraft()
