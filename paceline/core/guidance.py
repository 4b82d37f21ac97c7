"""Classifier-free guidance: a row writes one text behind two prompts, and both laws decide (Ho and Salimans, arXiv 2207.12598).

The second branch, with the condition left out or a negative prompt in its place, is one more text of the same batched forward: it
has a cache slot of its own, the same tree below its own pending token, and commits the same path.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from paceline.core.proposal import Proposal, Verdict
from paceline.core.protocols import Slot, Target
from paceline.core.sampling import guided
from paceline.core.trace import Trace
from paceline.errors import RequestError

if TYPE_CHECKING:  # a guided row is made with its branch
    from paceline.core.row import Round, Row
    from paceline.core.stats import Stats

__all__ = ["Branch", "Guidance", "keep", "score"]


@dataclass(frozen=True)
class Guidance:
    """scale: logits are other + scale (own - other), so 1 changes nothing and more follows the prompt more closely. prompt: token
    ids that take the prompt's place in the other branch (a null class, a negative prompt), at least one.
    """

    scale: float
    prompt: Sequence[int]

    def __post_init__(self) -> None:
        if not isinstance(self.scale, int | float) or not math.isfinite(self.scale):
            raise RequestError(f"The scale of guidance must be a number; found {self.scale!r}.")
        if not len(self.prompt):
            raise RequestError("Guidance needs a prompt of at least one token for its second branch; found none.")


@dataclass(eq=False)
class Branch:
    """The second text of a guided row: another prompt, then what the row writes. To whoever keeps a cache per row it is a row."""

    row: Row
    guidance: Guidance
    slot: Slot | None = None
    trace: Trace | None = None

    @property
    def id(self) -> int:
        """No row's: those count from 0."""
        return -1 - self.row.id

    @property
    def tokens(self) -> list[int]:
        return [*self.guidance.prompt, *self.row.new_tokens]

    @property
    def last(self) -> Round | None:
        return self.row.last

    @property
    def stats(self) -> Stats:
        return self.row.stats


def score(lm: Target, kv: Any, rows: Sequence[Row], proposals: Sequence[Proposal],
          queries: list[torch.Tensor] | None = None) -> list[torch.Tensor]:
    """One forward for all texts of all rows; logits [N + 1, V] for each row, root first, its branches combined. queries: receives
    what attention asked in each row's own branch, per layer [B, H, T, D] (`lm/batch.py`).
    """
    trees = {text.id: proposal for row, proposal in zip(rows, proposals, strict=True) for text in row.texts}
    texts = [text for row in rows for text in row.texts]
    asked: list[torch.Tensor] = []
    logits = lm.score(kv, [t.slot for t in texts], [t.tokens[-1] for t in texts], [trees[t.id] for t in texts],
                      None if queries is None else asked)
    if queries is not None:
        place = {text.id: i for i, text in enumerate(texts)}
        queries += [q[[place[row.id] for row in rows]] for q in asked]
    found = {text.id: x for text, x in zip(texts, logits, strict=True)}
    return [found[row.id] if row.other is None else
            guided(found[row.id], found[row.other.id], row.other.guidance.scale) for row in rows]


def keep(kv: Any, rows: Sequence[Row], verdicts: Sequence[Verdict]) -> None:
    """Commit each row's pending token and accepted path, in every branch."""
    pairs = [(text.slot, [0, *(i + 1 for i in v.path)]) for row, v in zip(rows, verdicts, strict=True) for text in row.texts]
    kv.keep([slot for slot, _ in pairs], [path for _, path in pairs])
