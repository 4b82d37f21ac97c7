"""What passes between the engine and a controller: numbers and ids only. No torch here."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Arm", "Offer", "Outcome", "View"]


@dataclass(frozen=True)
class Arm:
    """One choice for one row and round: which drafter (its place in the engine's list) and how many nodes it may have scored."""

    drafter: int
    budget: int


@dataclass(frozen=True)
class Offer:
    """A drafter has said what it would propose for a row now: so many nodes, all chosen, which follow from the text so far."""

    drafter: int
    nodes: int


@dataclass(frozen=True)
class View:
    """What a controller may know of a row: its id, its length in tokens, how many tokens it may still add, and what drafters
    offer that were asked already; one that offers costs nothing further to take.
    """

    row: int
    length: int
    left: int
    offers: Sequence[Offer] = ()


@dataclass(frozen=True)
class Outcome:
    """What an arm gave in one round.

    drafted: nodes scored. accepted: for depth 1, 2, …, whether a node of that depth was accepted. tokens: committed, the
    bonus token included. seconds: draft (catching up included), verify, and all of the round, this row's share. truncated: a stop
    cut the round. reach: what every budget of this drafter up to here would have given is known: the fewer of it and of the
    accepted tokens, and the bonus token; 0 where nothing is known but of the budget that was played.
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
    reach: int = 0
