"""The drafters of an engine at work: who is asked for which rows, what comes of it, and what happens to one that fails."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from paceline.core.arms import Arm
from paceline.core.proposal import Proposal
from paceline.core.protocols import Drafter
from paceline.core.row import Round, Row

__all__ = ["Drafting", "Turn"]

log = logging.getLogger("paceline")


@dataclass
class Turn:
    """A row in one round. arm: who drafts, its budget clipped to what the row may have scored, 0 where it cannot draft;
    `proposal` and `seconds` are its draft. last: what the round decided.
    """

    row: Row
    arm: Arm
    proposal: Proposal = field(default_factory=Proposal)
    seconds: float = 0.0
    last: Round | None = None


class Drafting:
    """chains: trees are cut to their main chain, since only that is bit-exact here."""

    def __init__(self, drafters: Sequence[Drafter], vocab: int, chains: bool) -> None:
        self.drafters, self.vocab, self.chains = drafters, vocab, chains
        self._said: set[str] = set()

    def turns(self, rows: Sequence[Row], arms: Sequence[Arm], context: int) -> list[Turn]:
        """What every row has scored in this round, in their order. Rows are grouped by drafter, and none sees a budget of 0; the
        bonus token takes one of the tokens that a row may still add.
        """
        turns = [Turn(row, clipped(row, arm, context)) for row, arm in zip(rows, arms, strict=True)]
        groups: dict[int, list[Turn]] = {}
        for turn in turns:
            if turn.arm.budget:
                groups.setdefault(turn.arm.drafter, []).append(turn)
        for which, group in sorted(groups.items()):
            start = time.perf_counter()
            made = self._made(which, [(turn.row, turn.arm.budget) for turn in group])
            seconds = (time.perf_counter() - start) / len(group)
            for turn in group:
                turn.proposal, turn.seconds = made.get(turn.row.id, turn.proposal), seconds
        return turns

    def forget(self, row: Row) -> None:
        """A row has ended."""
        for which in range(len(self.drafters)):
            self._forget(which, row)

    def _made(self, which: int, group: Sequence[tuple[Row, int]]) -> dict[int, Proposal]:
        """What a drafter proposes for these rows, each with its budget, by the rows' ids. When it raises or proposes nonsense, it
        forgets them and is asked row by row once; rows for which it fails again are left out.
        """
        try:
            return self._checked(which, group)
        except Exception as error:
            for row, _ in group:
                self._forget(which, row)
            if len(group) > 1:
                return {k: v for pair in group for k, v in self._made(which, [pair]).items()}
            self._strike(which, group[0][0], error)
            return {}

    def _checked(self, which: int, group: Sequence[tuple[Row, int]]) -> dict[int, Proposal]:
        proposals = self.drafters[which].propose([r for r, _ in group], [b for _, b in group])
        out = {}
        for (row, budget), proposal in zip(group, proposals, strict=True):
            proposal.check(self.vocab)
            proposal = proposal.main_chain() if self.chains else proposal
            out[row.id] = (proposal.chosen() if row.request.reproducible else proposal).clip(budget)
        return out

    def _strike(self, which: int, row: Row, error: Exception) -> None:
        name = type(self.drafters[which]).__name__
        row.strikes[which] = row.strikes.get(which, 0) + 1
        row.stats.failures.append(f"{name}: {error}")
        if name not in self._said:
            self._said.add(name)
            log.warning("The drafter %s failed (%s: %s); decoding goes on without its draft.", name, type(error).__name__, error)

    def _forget(self, which: int, row: Row) -> None:
        try:
            self.drafters[which].forget(row)
        except Exception as error:
            log.warning("The drafter %s could not forget a row: %s", type(self.drafters[which]).__name__, error)


def clipped(row: Row, arm: Arm, context: int) -> Arm:
    """The arm with as many nodes as this row may have scored now."""
    room = min(row.left, context - row.reach) - 1
    usable = row.drafting and not row.disabled(arm.drafter)
    return Arm(arm.drafter, max(0, min(arm.budget, room)) if usable else 0)
