"""What one forward is asked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from paceline.lm.ids import token_ids
from paceline.lm.kv import Slot

__all__ = ["Batch", "Watcher"]


class Watcher(Protocol):
    """Whoever computes attention in `attend`'s stead, and so sees all that goes into it (`trace.py`)."""

    def enter(self, hidden: torch.Tensor) -> None:
        """The residual stream [..., T, W] that enters the next layer."""
        ...

    def attend(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layer: int, scale: float, window: int | None,
               **special: Any) -> torch.Tensor:
        """As `attend` in `attention.py`, without a cache."""
        ...


@dataclass(frozen=True)
class Batch:
    """T new tokens of each of B texts; the forward writes their keys as scratch behind each slot's committed ones.

    tokens: ids [B, T]. parents: per row, the parent of each token among the new ones, -1 = the committed prefix; None = chains.
    logits_at: which of the B * T tokens get logits; None = all, () = none (prefill). queries: a list that receives what attention
    asks, for every layer [B, H, T, D], rotated and scaled. watch: who attends in place of the cache, on forwards made of torch's
    operators.
    """

    slots: Sequence[Slot]
    tokens: torch.Tensor
    parents: Sequence[Sequence[int]] | None = None
    logits_at: Sequence[int] | None = None
    queries: list[torch.Tensor] | None = None
    watch: Watcher | None = None

    @classmethod
    def of(cls, slots: Sequence[Slot], rows: Sequence[Sequence[int]], parents: Sequence[Sequence[int]] | None = None,
           at: Sequence[Sequence[int]] | None = None, queries: list[torch.Tensor] | None = None) -> "Batch":
        """From rows of different lengths, with zeros behind the shorter ones. at: per row, which of its tokens get logits; None =
        every one, () = none.
        """
        width = max(map(len, rows))
        if at is None and min(map(len, rows)) < width:  # padding gets none
            at = [range(len(row)) for row in rows]
        places = None if at is None else tuple(b * width + i for b, row in enumerate(at) for i in row)
        return cls(slots, token_ids([[*row, *[0] * (width - len(row))] for row in rows]), parents, places, queries)

    @property
    def end(self) -> int:
        """Tokens of the longest text, the new ones included."""
        return max(slot.length for slot in self.slots) + self.tokens.shape[1]

    def picked(self, rows: torch.Tensor) -> torch.Tensor:
        """Of [B * T, ...], those that get logits."""
        return rows if self.logits_at is None else rows[list(self.logits_at)]
