"""What the cost controller keeps of its arms: what their rounds gave, on all texts and on one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from paceline.arm import Offer

__all__ = ["Against", "Past", "Situation", "Tally", "Text", "beside", "offering"]

Situation = tuple[str, int]

SPREAD, ENOUGH = 1.0, 24  # standard deviation of a round's tokens where fewer rounds than these were seen
FEW = 2  # rounds that the mean of all situations counts for in each


def offering(nodes: int) -> Situation:
    """An arm that has proposed about so many nodes."""
    return "offers", nodes.bit_length()


def beside(offers: Sequence[Offer]) -> Situation:
    """An arm that has not said what it would propose, beside others that have: what follows where they are at a loss is hard to
    draft for all, and what they are sure of is easy.
    """
    return "beside", max((offer.nodes.bit_length() for offer in offers), default=-1)


@dataclass
class Tally:
    """Rounds, their tokens, the squares of these, and the nodes scored, the older the lighter."""

    rounds: float = 0.0
    tokens: float = 0.0
    squares: float = 0.0
    nodes: float = 0.0

    def add(self, tokens: float, nodes: int, fade: float) -> None:
        """Enter a round."""
        self.rounds, self.tokens = self.rounds * fade + 1, self.tokens * fade + tokens
        self.squares, self.nodes = self.squares * fade + tokens**2, self.nodes * fade + nodes

    @property
    def mean(self) -> float:
        """Tokens of a round."""
        return self.tokens / self.rounds if self.rounds else 0.0

    @property
    def spread(self) -> float:
        """Standard deviation of a round's tokens."""
        if self.rounds < ENOUGH:
            return SPREAD
        return math.sqrt(max(0.0, self.squares / self.rounds - (self.tokens / self.rounds) ** 2))


@dataclass
class Past:
    """An arm's rounds on all texts: all of them, and apart those of each situation."""

    all: Tally = field(default_factory=Tally)
    apart: dict[Situation, Tally] = field(default_factory=dict)

    def add(self, where: Situation, tokens: float, nodes: int, fade: float) -> None:
        """Enter a round."""
        self.all.add(tokens, nodes, fade)
        self.apart.setdefault(where, Tally()).add(tokens, nodes, fade)

    def expects(self, where: Situation) -> float:
        """Tokens of a round in this situation."""
        alike = self.apart.get(where)
        return self.all.mean if alike is None else (alike.tokens + FEW * self.all.mean) / (alike.rounds + FEW)


@dataclass
class Against:
    """An arm's rounds on one text: how many, their tokens, and the tokens that other texts would have had one expect."""

    rounds: float = 0.0
    tokens: float = 0.0
    expected: float = 0.0

    def add(self, tokens: float, expected: float, fade: float) -> None:
        """Enter a round."""
        self.rounds, self.tokens = self.rounds * fade + 1, self.tokens * fade + tokens
        self.expected = self.expected * fade + expected


@dataclass
class Text:
    """One row: its arms, the drafters that have caught up with it, the rounds that each drafted, its rounds, tokens and time in
    plain rounds so far; which arm is kept to until so many rounds, as long as the same drafters say what they would propose, the
    pace it was chosen at and what others have to promise to replace it; and the seconds that asking a drafter before a pick is
    worth.
    """

    arms: list[Against]
    worth: list[float]
    begun: set[int] = field(default_factory=set)
    drafted: dict[int, int] = field(default_factory=dict)
    rounds: int = 0
    tokens: float = 0.0
    steps: float = 0.0
    arm: int = 0
    pace: float = 0.0
    surplus: float = 0.0
    until: int = 0
    among: tuple[int, ...] = ()
