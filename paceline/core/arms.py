"""What passes between the engine and a controller: numbers and ids only. No torch here."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Arm", "Outcome", "View"]


@dataclass(frozen=True)
class Arm:
    """One choice for one row and round: which drafter (its place in the engine's list) and how many nodes it may have scored."""

    drafter: int
    budget: int


@dataclass(frozen=True)
class View:
    """What a controller may know of a row: its id, its length in tokens, how many tokens it may still add, and whether it is to
    be drafted for as if it were `alone`: drafts are drawn for it, and its seed promises the same text whatever else is decoded.
    """

    row: int
    length: int
    left: int
    alone: bool = False


@dataclass(slots=True)
class Outcome:
    """What an arm gave in one round.

    arm: who drafted, and how many nodes the engine let it have, 0 where it could not draft. drafted: nodes scored. accepted: for
    depth 1, 2, …, whether a node of that depth was accepted. tokens: committed, the bonus token included. seconds: draft
    (catching up included), verify, and all of the round, this row's share. truncated: a stop cut the round.
    """

    row: int
    arm: Arm
    drafted: int
    accepted: Sequence[bool]
    tokens: int
    draft_seconds: float
    verify_seconds: float
    truncated: bool
    seconds: float = 0.0
