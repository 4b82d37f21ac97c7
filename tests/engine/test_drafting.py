"""Who is asked in a round, and what every row has scored."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from paceline.core.arms import Arm
from paceline.core.proposal import Proposal
from paceline.core.request import Request
from paceline.engine import Engine
from paceline.engine.drafting import Drafting
from paceline.testing import tiny_lm

CONTEXT = 1000


class Says:
    """Proposes the same chain and notes with which budgets it was asked."""

    captures, has_model, timed = (), False, True

    def __init__(self, *tokens: int) -> None:
        self.tokens, self.asked = tokens, list[list[int]]()

    def propose(self, rows: Sequence[Any], budgets: Sequence[int]) -> list[Proposal]:
        self.asked.append(list(budgets))
        return [Proposal.chain(self.tokens, "says")] * len(rows)

    def forget(self, row: Any) -> None: ...


def row(which: int, left: int = 50, drafting: bool = True, reach: int = 1) -> Any:
    return SimpleNamespace(id=which, tokens=[1], reach=reach, left=left, drafting=drafting, disabled=lambda drafter: drafter == 2,
                           request=SimpleNamespace(reproducible=False))


def test_a_drafter_is_asked_once_for_all_its_rows_and_never_for_none() -> None:
    """So that it knows for how many rows a token is priced. A row's last token, and one at the context's end, has no draft."""
    says, other, failed = Says(5, 6), Says(7), Says(8)
    rows = [row(0), row(1, left=1), row(2, left=2), row(3, drafting=False), row(4), row(5), row(6, reach=CONTEXT - 2)]
    arms = [Arm(0, 8)] * 4 + [Arm(1, 8), Arm(2, 8), Arm(0, 8)]
    turns = Drafting([says, other, failed], 9, chains=False).turns(rows, arms, CONTEXT)
    assert says.asked == [[8, 1, 1]] and other.asked == [[8]] and not failed.asked
    assert [list(turn.proposal.tokens) for turn in turns] == [[5, 6], [], [5], [], [7], [], [5]]
    assert [turn.arm.budget for turn in turns] == [8, 0, 1, 0, 8, 0, 1]
    assert all((turn.seconds > 0) == (turn.arm.budget > 0) for turn in turns)


class Counting:
    """A controller that notes for how many rows it is asked and told."""

    timed = False

    def __init__(self) -> None:
        self.heard = list[tuple[str, int]]()

    def pick(self, views: Sequence[Any]) -> list[Arm]:
        self.heard.append(("pick", len(views)))
        return [Arm(0, 4)] * len(views)

    def learn(self, outcomes: Sequence[Any]) -> None:
        assert all(outcome.seconds > 0 for outcome in outcomes)
        self.heard.append(("learn", len(outcomes)))

    def forget(self, row: int) -> None: ...


def test_every_round_is_picked_for_and_learned_of() -> None:
    controller = Counting()
    engine = Engine(tiny_lm(), "none", controller=controller, slots=2)
    engine.run([Request([1, 2], max_new_tokens=4), Request([3], max_new_tokens=2)])
    assert controller.heard == [("pick", 2), ("learn", 2)] * 2 + [("pick", 1), ("learn", 1)] * 2
