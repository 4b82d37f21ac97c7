"""No draft: every round is plain decoding."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from paceline.core.proposal import Proposal

__all__ = ["NoDraft"]


@dataclass(frozen=True)
class NoDraft:
    """Proposes nothing; the baseline every other drafter is measured against."""

    captures, has_model, timed = (), False, False

    def attach(self, lm: Any) -> "NoDraft":
        return self

    def propose(self, rows: Sequence[Any], budgets: Sequence[int]) -> list[Proposal]:
        """An empty proposal for every row."""
        return [Proposal() for _ in rows]

    def forget(self, row: Any) -> None:
        """Nothing is remembered."""


def tiny(lm: Any) -> NoDraft:
    return NoDraft()
