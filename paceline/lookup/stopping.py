"""When a further drafted token is worth its price: the one rule for chains, trees and leaves.

A round gives `tokens` for `cost`, in plain steps. What raises the quotient of the two makes decoding faster, and a further token
does as long as its chance, over its price, is at least that quotient, or 1, what plain decoding gives. To draft as long as the
chance exceeds the price alone makes the most of a round, not of the time: rounds that go well leave less for tokens that are
likely to be wrong. (Marginal value, as in foraging theory; EAGLE-2 and its kind take a fixed number, assisted generation a fixed
confidence.)
"""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Stop", "worthwhile"]


def worthwhile(chance: float, price: float, tokens: float, cost: float) -> bool:
    """Whether a token that is accepted with this chance and costs this price raises the tokens a step of a round that gives
    `tokens` (the bonus token included) for `cost` (a plain step included) without it.
    """
    return chance * cost >= price * max(tokens, cost)


@dataclass(frozen=True)
class Stop:
    """When drafted chains end: before the token with which the chance of a row's path falls below `least`, or, but for the first
    token, is not worth its `price`. That chance is the product of the tokens' probabilities, or of what `calibration` (of each
    row) makes of them, in bins of equal width.
    """

    least: float = 0.0
    price: float = 0.0
    calibration: Sequence[Sequence[float]] | None = None

    def chance(self, row: int, probability: float) -> float:
        """That the target takes a token of this probability, given those before it."""
        if self.calibration is None:
            return probability
        bins = self.calibration[row]
        return bins[min(len(bins) - 1, int(probability * len(bins)))]

    def allows(self, path: float, tokens: float, drafted: int) -> bool:
        """Whether a chain of so many drafted tokens, whose round gives `tokens`, goes on to a path of this chance."""
        return path >= self.least and (drafted == 0 or worthwhile(path, self.price, tokens, 1 + drafted * self.price))
