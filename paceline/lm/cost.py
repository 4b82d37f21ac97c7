"""What forwards cost, measured on the model at hand: the base of every decision whether a draft is worth its price."""

import time
from typing import Any

import torch

__all__ = ["Costs"]

PREFIX, REPEATS = 32, 5
MORE = 4  # further tokens a row over which the cost of one is taken
MOST_ROWS = 16  # more rows than these are taken to cost as these
UNKNOWN = 0.12  # cost of a token where the context is too short to try


class Costs:
    """Seconds of forwards of a model, an `LM` or a draft head; reads: the target whose keys a head reads."""

    def __init__(self, lm: Any, reads: Any = None) -> None:
        self.lm, self.reads = lm, reads
        self._seconds: dict[int, float] = {}

    def seconds(self, tokens: int) -> float:
        """Of a forward of so many tokens behind a short prefix, the best of a few; measured once."""
        if tokens not in self._seconds:
            self._seconds[tokens] = self._measure(tokens)
        return self._seconds[tokens]

    def token(self, rows: int = 1) -> float:
        """What one more token costs each of so many rows, as a share of their forward of one token each: from 0.01 up.

        Below 1 a token that is certain to be accepted is worth drafting; with many rows the cost rises to 1, since arithmetic,
        not the reading of weights, is what a forward then waits for.
        """
        rows = clamped(rows)
        if self.lm.context < PREFIX + (1 + MORE) * rows + 1:
            return UNKNOWN
        return max(0.01, (self.seconds((1 + MORE) * rows) / self.seconds(rows) - 1) / MORE)

    def draft(self, small: "Costs", rows: int = 1) -> float:
        """A step of a drafting model as a share of ours, for so many rows."""
        rows = clamped(rows)
        if min(self.lm.context, small.lm.context) < PREFIX + rows + 1:
            return UNKNOWN
        return small.seconds(rows) / self.seconds(rows)

    @torch.inference_mode()
    def _measure(self, tokens: int) -> float:
        kv, slot = self._filled(self.lm)
        if self.reads is not None:
            slot.reads = self._filled(self.reads)[1]
        ids, best = torch.zeros(1, tokens, dtype=torch.long), float("inf")
        for _ in range(REPEATS + 1):
            start = time.perf_counter()
            logits = self.lm.forward(kv, [slot], ids)
            logits[0].argmax().item()  # on an accelerator the forward is only now done
            best = min(best, time.perf_counter() - start)
        return best

    def _filled(self, lm: Any) -> tuple[Any, Any]:
        kv = lm.cache(1, getattr(lm, "exact", False))
        slot = kv.take()
        if self.reads is None or lm is self.reads:
            lm.prefill(kv, slot, [0] * PREFIX)
        return kv, slot


def clamped(rows: int) -> int:
    """Rows as powers of two, so that few are measured."""
    return 1 << (min(max(rows, 1), MOST_ROWS) - 1).bit_length()
