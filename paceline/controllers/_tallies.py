"""What the cost controller keeps of its arms: what their rounds gave, on all texts and on one."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from paceline.core.arms import Offer, Order

__all__ = ["Against", "Past", "Situation", "Tally", "Text", "beside", "offering", "size_of"]

Situation = tuple[str, int]

SPREAD, ENOUGH = 1.0, 24  # standard deviation of a round's tokens where fewer rounds than these were seen
HALF = 4.0  # nodes that are believed to have been right, and as many wrong, before any were seen
FEW = 2  # rounds that the mean of all situations counts for in each


def offering(nodes: int) -> Situation:
    """An arm that has proposed about so many nodes."""
    return "offers", nodes.bit_length()


def beside(size: int) -> Situation:
    """An arm that has not said what it would propose, beside others that have, the largest proposal of this `size_of`: what
    follows where they are at a loss is hard to draft for all, and what they are sure of is easy.
    """
    return "beside", size


def size_of(offers: Sequence[Offer]) -> int:
    """About how many nodes the largest of them has; -1 where there is none."""
    return max((offer.nodes.bit_length() for offer in offers), default=-1)


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

    def expects(self, where: Situation, lift: float = 1.0) -> tuple[float, float]:
        """Tokens of a round in this situation, and its nodes. Before any was seen: for so many nodes as many tokens as nodes are
        usually right, since what proposes more is surer; otherwise `lift` times the mean round.
        """
        every, alike = self.all, self.apart.get(where)
        if where[0] == "offers":
            nodes = float(1 << where[1] >> 1)
            tokens = 1 + nodes * (every.tokens - every.rounds + HALF) / (every.nodes + 2 * HALF)
        else:
            tokens, nodes = lift * every.mean, lift * every.nodes / max(1.0, every.rounds)
        if alike is None:
            return tokens, nodes
        rounds = alike.rounds + FEW
        return (alike.tokens + FEW * tokens) / rounds, (alike.nodes + FEW * nodes) / rounds


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
    """One row: its arms, the seconds that asking a drafter beforehand is worth, its tokens with the prompt's; the drafters that
    have caught up with it, the rounds that each drafted; its rounds, tokens and time in plain rounds so far, the pace of these;
    and what was ordered for it last.
    """

    arms: list[Against]
    worth: list[float]
    length: int
    begun: set[int] = field(default_factory=set)
    drafted: dict[int, int] = field(default_factory=dict)
    rounds: int = 0
    tokens: float = 0.0
    steps: float = 0.0
    pace: float = 1.0
    order: Order = Order(())
