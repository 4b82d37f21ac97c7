"""What the cost controller keeps of its arms: what their rounds gave, on all texts and on one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from paceline.arm import Offer

__all__ = ["Past", "Situation", "Tally", "Text", "beside", "offering"]

Situation = tuple[str, int]

SPREAD, ENOUGH = 1.0, 24  # standard deviation of a round's tokens where fewer rounds than these were seen


@dataclass
class Tally:
    """Rounds, their tokens, the squares of these, and the nodes scored, the older the lighter."""

    rounds: float = 0.0
    tokens: float = 0.0
    squares: float = 0.0
    nodes: float = 0.0

    def add(self, tokens: float, nodes: int, fade: float = 1.0) -> None:
        self.rounds, self.tokens = self.rounds * fade + 1, self.tokens * fade + tokens
        self.squares, self.nodes = self.squares * fade + tokens**2, self.nodes * fade + nodes

    @property
    def spread(self) -> float:
        """Standard deviation of a round's tokens."""
        if self.rounds < ENOUGH:
            return SPREAD
        return math.sqrt(max(0.0, self.squares / self.rounds - (self.tokens / self.rounds) ** 2))


@dataclass
class Past:
    """An arm's rounds on all texts: all of them, and apart those of each situation: how many nodes it proposed, or where it was
    not asked before it was picked, what had been offered.
    """

    all: Tally = field(default_factory=Tally)
    apart: dict[Situation, Tally] = field(default_factory=dict)

    def add(self, situation: Situation, tokens: float, nodes: int, fade: float) -> None:
        """Enter a round."""
        self.all.add(tokens, nodes, fade)
        self.apart.setdefault(situation, Tally()).add(tokens, nodes, fade)

    def of(self, situation: Situation) -> Tally:
        """The rounds of a situation."""
        return self.apart.get(situation) or Tally()


def offering(nodes: int) -> Situation:
    """An arm that has proposed about so many nodes."""
    return "offers", nodes.bit_length()


def beside(offers: Sequence[Offer]) -> Situation:
    """An arm that has not said what it would propose, beside others that have: what follows where they are at a loss is hard to
    draft for all.
    """
    return "beside", max((offer.nodes.bit_length() for offer in offers), default=-1)


@dataclass
class Text:
    """One row: a tally for each arm, those that have caught up with it, its rounds so far, which arm is kept to until so many as
    long as the same drafters say what they would propose, and the tokens a second that others have to promise to replace it.
    """

    tallies: list[Tally]
    begun: set[int] = field(default_factory=set)
    rounds: int = 0
    arm: int = 0
    rate: float = 0.0
    until: int = 0
    among: tuple[int, ...] = ()
    worth: dict[int, float] = field(default_factory=dict)
    tokens: float = 0.0
    seconds: float = 0.0
