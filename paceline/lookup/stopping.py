"""When a further drafted token is worth its price: the one rule for chains, trees and leaves.

A round gives `tokens` for `cost`, in plain steps. What raises the quotient of the two makes decoding faster, and a further token
does as long as its chance, over its price, is at least that quotient, or 1, what plain decoding gives. To draft as long as the
chance exceeds the price alone makes the most of a round, not of the time: rounds that go well leave less for tokens that are
likely to be wrong. (Marginal value, as in foraging theory; EAGLE-2 and its kind take a fixed number, assisted generation a fixed
confidence.)
"""

__all__ = ["worthwhile"]


def worthwhile(chance: float, price: float, tokens: float, cost: float) -> bool:
    """Whether a token that is accepted with this chance and costs this price raises the tokens a step of a round that gives
    `tokens` (the bonus token included) for `cost` (a plain step included) without it.
    """
    return chance * cost >= price * max(tokens, cost)
