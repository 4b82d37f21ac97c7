"""The drafters of an engine at work: who is asked for which rows, what comes of it, and what happens to one that fails."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from paceline.core.arms import Arm, Offer, Order
from paceline.core.proposal import Proposal
from paceline.core.row import Round, Row

__all__ = ["Drafter", "Drafting", "Turn"]

log = logging.getLogger("paceline")


class Drafter(Protocol):
    """A drafter attached to a model; it owns its memory, per row. It may name in `captures` what it wants to see (`captured.py`),
    and say by `nested` that under a smaller budget it proposes the first nodes of what it proposes under a larger one, by
    `steady` that what it draws for a row depends neither on the clock nor on other rows, and by `free` that asking it costs
    little, since it has no model, or asks one only where that pays: it may be asked before it is settled who drafts, and what it
    then chooses may be left; what it draws is scored.
    """

    def propose(self, rows: Sequence[Row], budgets: Sequence[int]) -> list[Proposal]: ...

    def forget(self, row: Row) -> None: ...


@dataclass
class Turn:
    """A row in one round. room: most nodes it may have scored. arm: who drafts, its budget clipped to that; `proposal` and
    `seconds` are its draft. offers: what free drafters said that they would propose before that was settled; said: of these the
    ones that were not taken, with their seconds. last: what the round decided.
    """

    row: Row
    order: Order
    room: int
    arm: Arm = Arm(0, 0)
    proposal: Proposal = field(default_factory=Proposal)
    seconds: float = 0.0
    said: dict[int, tuple[Proposal, float]] = field(default_factory=dict)
    offers: list[Offer] = field(default_factory=list)
    last: Round | None = None

    def hears(self, drafter: int, proposal: Proposal, seconds: float) -> None:
        """A free drafter has said what it would propose."""
        self.said[drafter] = proposal, seconds
        self.offers.append(Offer(drafter, len(proposal)))

    def settle(self) -> bool:
        """Decide who drafts; whether that drafter still has to be asked. What was drawn is taken whole, whatever it promises: to
        look at it first would change its law.
        """
        arm, taken = self.order.settle(self.offers)
        who = None if taken is None else taken.drafter
        for ask in self.order.asks:
            if ask.drafter in self.said and not self.said[ask.drafter][0].all_chosen:
                who, arm = ask.drafter, Arm(ask.drafter, len(ask.by) - 1)
        usable = self.row.drafting and not self.row.disabled(arm.drafter)
        self.arm = Arm(arm.drafter, max(0, min(arm.budget, self.room)) if usable else 0)
        if who is None:
            return self.arm.budget > 0
        proposal, self.seconds = self.said.pop(who)
        self.proposal = proposal.clip(self.arm.budget)
        return False


class Drafting:
    """chains: trees are cut to their main chain, since only that is bit-exact here."""

    def __init__(self, drafters: Sequence[Any], vocab: int, chains: bool) -> None:
        self.drafters, self.vocab, self.chains = drafters, vocab, chains
        self._said: set[str] = set()

    def turns(self, rows: Sequence[Row], orders: Sequence[Order], context: int) -> list[Turn]:
        """What every row has scored in this round, in their order. Rows are grouped by drafter, and none sees a budget of 0; the
        bonus token takes one of the tokens that a row may still add.
        """
        turns = [Turn(row, order, min(row.left, context - row.reach) - 1) for row, order in zip(rows, orders, strict=True)]
        first: dict[int, list[tuple[Turn, int]]] = {}
        for turn in turns:
            for ask in turn.order.asks if turn.row.drafting and turn.room > 0 else ():
                if not turn.row.disabled(ask.drafter):
                    first.setdefault(ask.drafter, []).append((turn, min(len(ask.by) - 1, turn.room)))
        for which, asked in sorted(first.items()):
            made, seconds = self.ask(which, [(turn.row, budget) for turn, budget in asked])
            for turn, _ in asked:
                if turn.row.id in made:
                    turn.hears(which, made[turn.row.id], seconds)
        groups: dict[int, list[Turn]] = {}
        for turn in turns:
            if turn.settle():
                groups.setdefault(turn.arm.drafter, []).append(turn)
        for which, group in sorted(groups.items()):
            made, seconds = self.ask(which, [(turn.row, turn.arm.budget) for turn in group])
            for turn in group:
                turn.proposal, turn.seconds = made.get(turn.row.id, turn.proposal), seconds
        return turns

    def ask(self, which: int, group: Sequence[tuple[Row, int]]) -> tuple[dict[int, Proposal], float]:
        """What a drafter proposes for these rows, each with its budget, by the rows' ids, without those for which it failed; and
        the seconds for each.
        """
        start = time.perf_counter()
        made = self._made(which, group)
        return made, (time.perf_counter() - start) / len(group)

    def forget(self, row: Row) -> None:
        """A row has ended."""
        for which in range(len(self.drafters)):
            self._forget(which, row)

    def _made(self, which: int, group: Sequence[tuple[Row, int]]) -> dict[int, Proposal]:
        """Ask a drafter; when it raises or proposes nonsense, forget its memory and ask row by row once."""
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
