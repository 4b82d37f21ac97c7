"""What passes between the engine and a controller: numbers and ids only. No torch here."""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Arm", "Ask", "Offer", "Order", "Outcome", "Valued", "View"]


@dataclass(frozen=True)
class Arm:
    """One choice for one row and round: which drafter (its place in the engine's list) and how many nodes it may have scored."""

    drafter: int
    budget: int


Valued = tuple[Arm, float]  # an arm, and what its round promises, in whatever unit a controller has


@dataclass(frozen=True)
class Offer:
    """A drafter has said before the round what it would propose: so many nodes."""

    drafter: int
    nodes: int


@dataclass(frozen=True)
class Ask:
    """A free drafter says what it would propose before it is settled who drafts. by: for a proposal of n nodes, n from 0 to the
    most that it may have: the arm that would let it be scored, and what that promises.
    """

    drafter: int
    by: Sequence[Valued]


@dataclass(frozen=True)
class Order:
    """Who drafts for a row in the next `rounds` rounds, settled from what the drafters in `asks` say. beside: for a largest
    proposal of n nodes among theirs (the last entry for more, too): the arm that plays unless one of these promises more.
    """

    beside: Sequence[Valued]
    asks: Sequence[Ask] = ()
    rounds: int = 1

    @staticmethod
    def of(pick: "Arm | Order") -> "Order":
        """An order as it is; an arm for one round, whatever anybody says."""
        return pick if isinstance(pick, Order) else Order(((pick, 0.0),))

    def settle(self, offers: Sequence[Offer]) -> tuple[Arm, Offer | None]:
        """Who drafts, given what those said that are asked; and the offer that is taken."""
        most = max([offer.nodes for offer in offers], default=0)
        (arm, worth), taken = self.beside[min(most, len(self.beside) - 1)], None
        for ask in self.asks if most else ():
            for offer in offers:
                if offer.drafter == ask.drafter and offer.nodes and ask.by[offer.nodes][1] > worth:
                    (arm, worth), taken = ask.by[offer.nodes], offer
        return arm, taken

    def names(self, drafter: int) -> bool:
        """Whether it lets this drafter draft, asked before or not."""
        return any(ask.drafter == drafter for ask in self.asks) or any(a.drafter == drafter and a.budget for a, _ in self.beside)


@dataclass(frozen=True)
class View:
    """What a controller may know of a row: its id, its length in tokens, how many tokens it may still add, which drafters can be
    asked before it is settled who drafts, since that costs little, and whether it is to be drafted for as if it were `alone`:
    drafts are drawn for it, and its seed promises the same text whatever else is decoded.
    """

    row: int
    length: int
    left: int
    free: Sequence[int] = ()
    alone: bool = False


@dataclass(slots=True)
class Outcome:
    """What an arm gave in one round.

    arm: who drafted, and how many nodes the engine let it have, 0 where it could not draft. drafted: nodes scored. accepted: for
    depth 1, 2, …, whether a node of that depth was accepted. tokens: committed, the bonus token included. seconds: draft
    (catching up included), verify, and all of the round, this row's share. truncated: a stop cut the round. reach: what every
    budget of this drafter up to here would have given is known: the fewer of it and of the accepted tokens, and the bonus token;
    0 where nothing is known but of the budget that was played. offers: what was said before, by whom.
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
    offers: Sequence[Offer] = ()
