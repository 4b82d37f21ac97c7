"""Single forwards of one side, timed: what a curve (`curve.py`) asks of Paceline and of rivals."""

from __future__ import annotations

import time
from typing import Any, Protocol

from paceline.lm import LM
from paceline.lm.cost import behind

__all__ = ["Ours", "Steps", "ids"]


class Steps(Protocol):
    """One side: it holds a text and says how long its forwards take."""

    def describe(self) -> dict[str, Any]:
        """What exactly runs."""

    def fill(self, length: int) -> float:
        """Bring the text to so many tokens, from nothing where it holds more; seconds of it."""

    def step(self, tokens: int) -> float:
        """Seconds of one forward of so many tokens behind the text, logits of each; then they are taken back."""


class Ours:
    """Paceline's own side."""

    def __init__(self, lm: LM) -> None:
        self.lm = lm
        self.kv = lm.cache(lm.exact)
        self.slot = self.kv.take()

    def describe(self) -> dict[str, Any]:
        return self.lm.describe()

    def fill(self, length: int) -> float:
        if length < self.slot.length:
            self.kv.free(self.slot)
            self.slot = self.kv.take()
        start = time.perf_counter()
        self.lm.prefill(self.kv, self.slot, ids(self.slot.length, length, self.lm.known))
        return time.perf_counter() - start

    def step(self, tokens: int) -> float:
        return behind(self.lm, [self.slot], tokens, repeats=0)


def ids(start: int, end: int, known: int) -> list[int]:
    """Tokens of a text by their places; which ones costs nothing."""
    return [7 * i % known for i in range(start, end)]
