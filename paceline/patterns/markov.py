"""The last tokens of a text, as many as an order says: what a Markov translator's decoder may see (arXiv 2402.02084).

In a stack of layers whose keys are hidden states a band of k is no order k: what a key saw is seen with it, and D layers reach
D (k - 1) + 1 tokens back. So either keys come from the tokens alone, or the layers share the order (`shared`).
"""

from dataclasses import dataclass
from typing import Any

__all__ = ["Markov", "shared"]


@dataclass(frozen=True)
class Markov:
    """Causal attention to the last `order` keys, the query's own included; 0 = all."""

    order: int = 0
    anchored = False

    def visible(self, q: Any, k: Any) -> Any:
        return (k <= q) & (k > q - self.order) if self.order else k <= q

    def keep(self, length: int) -> tuple[int, int]:
        return 0, max(0, length - self.order + 1) if self.order else 0


def shared(order: int, layers: int) -> list[Markov]:
    """A pattern for each layer, so that all of them together reach `order` tokens back, whatever their keys hold: windows w with
    sum (w - 1) + 1 = order, as equal as can be.
    """
    steps = order - 1
    return [Markov(1 + steps // layers + (i < steps % layers)) if order else Markov() for i in range(layers)]
