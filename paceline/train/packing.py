"""Rows full of whole documents: which tokens go into which training batch, as a pure function of (seed, step).

Nothing here has a state that a restart could lose: batch ``i`` is the same in every process.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from paceline.data.corpus import Stream
from paceline.errors import DataError

__all__ = ["Batch", "Batches", "Piece", "Source", "cut", "document_mask", "fill", "layout"]

_GOLDEN = 0.6180339887498949  # steps of this size fill [0, 1) evenly, so every batch has nearly the wanted mixture
_LOOKAHEAD = 64  # pieces searched for one that fits the rest of a row


class Piece(NamedTuple):
    """Tokens ``start .. start + length`` of a stream, all of one document."""

    start: int
    length: int


class Batch(NamedTuple):
    """Token ids, next-token labels (-100: no loss), positions within the document, and document numbers, all ``[B,
    T]``."""

    tokens: Tensor
    labels: Tensor
    positions: Tensor
    documents: Tensor


def cut(stream: Stream, length: int, whole: bool, rng: np.random.Generator) -> list[Piece]:
    """One epoch's pieces in random order: short documents whole, long ones cut at a random offset and then every
    ``length``.

    With ``whole`` documents longer than ``length`` are left out: a dialogue without its tools would teach the wrong
    thing.
    """
    pieces = []
    for number in rng.permutation(len(stream.starts) - 1):
        start, stop = int(stream.starts[number]), int(stream.starts[number + 1])
        if stop - start <= length:
            pieces.append(Piece(start, stop - start))
        elif not whole:
            first = start + int(rng.integers(1, length + 1))
            edges = [start, *range(first, stop, length), stop]
            pieces += [Piece(a, b - a) for a, b in zip(edges, edges[1:], strict=False)]
    if not pieces:
        raise DataError(f"Packing expected a document of at most {length} tokens, found none; use longer rows.")
    return [pieces[i] for i in rng.permutation(len(pieces))]


def fill(pieces: list[Piece], length: int) -> list[list[Piece]]:
    """Rows of exactly ``length`` tokens: the next piece, then the longest of the following ones that still fits.

    A gap too small for all of them takes the head of the next piece, which stays in the queue: no padding, and nothing
    lost but the last, unfinished row.
    """
    queue, rows = deque(pieces), []
    while queue:
        row, space = [queue.popleft()], length
        space -= row[0].length
        while space and queue:
            fitting = [(p.length, -i) for i, p in zip(range(_LOOKAHEAD), queue, strict=False) if p.length <= space]
            if fitting:
                where = -max(fitting)[1]
                row.append(queue[where])
                del queue[where]
            else:
                row.append(Piece(queue[0].start, space))
            space -= row[-1].length
        if not space:
            rows.append(row)
    if not rows:
        # Less than one row of text: repeat what there is.
        return fill(pieces * (1 + 2 * length // sum(p.length for p in pieces)), length)
    return rows


@dataclass(frozen=True)
class Source:
    """A stream with its share of the tokens; ``whole``: never cut its documents."""

    stream: Stream
    share: float
    whole: bool = False


class Batches:
    """``batch(i)`` for ``i < count``: ``rows`` x ``length`` tokens, each row from one source, sources in proportion to
    shares."""

    def __init__(self, sources: dict[str, Source], count: int, rows: int, length: int, seed: int) -> None:
        self.sources, self.rows, self.length, self.seed = list(sources.values()), rows, length, seed
        shares = np.array([source.share for source in self.sources])
        start = np.random.default_rng(seed).random()
        even = (start + _GOLDEN * np.arange(count * rows)) % 1.0
        self._source = np.searchsorted(np.cumsum(shares / shares.sum())[:-1], even, side="right")
        self._rank = np.zeros(count * rows, dtype=np.int64)
        for number in range(len(self.sources)):
            mine = self._source == number
            self._rank[mine] = np.arange(mine.sum())
        self._epoch = lru_cache(maxsize=2 * len(self.sources))(self._plan_epoch)

    def batch(self, index: int) -> Batch:
        """The ``index``-th batch; the same for the same arguments and texts, in any process."""
        rows = [self._row(g) for g in range(index * self.rows, (index + 1) * self.rows)]
        return Batch(*(torch.from_numpy(np.stack(column)) for column in zip(*rows, strict=True)))

    def _row(self, g: int) -> tuple[np.ndarray, ...]:
        number, rank, epoch = int(self._source[g]), int(self._rank[g]), 0
        while rank >= len(plan := self._epoch(number, epoch)):
            rank, epoch = rank - len(plan), epoch + 1
        return layout(self.sources[number].stream, plan[rank])

    def _plan_epoch(self, number: int, epoch: int) -> list[list[Piece]]:
        rng = np.random.default_rng([self.seed, self.length, number, epoch])
        source = self.sources[number]
        return fill(cut(source.stream, self.length, source.whole, rng), self.length)


def layout(stream: Stream, row: list[Piece]) -> tuple[np.ndarray, ...]:
    """A row's ``tokens, labels, positions, documents``, each ``[T]`` int64.

    The label of a piece's last token is the next token of its document, also when that lies beyond the cut; a
    document's last token has none.
    """
    where = np.concatenate([np.arange(p.start, p.start + p.length) for p in row])
    positions = np.concatenate([np.arange(p.length) for p in row])
    documents = np.concatenate([np.full(p.length, i) for i, p in enumerate(row)])
    after = np.minimum(where + 1, len(stream.tokens) - 1)
    scored = stream.learn[after] & ~stream.first[after] & (where + 1 < len(stream.tokens))
    labels = np.where(scored, stream.tokens[after].astype(np.int64), -100)
    return stream.tokens[where].astype(np.int64), labels, positions, documents


def document_mask(documents: Tensor, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """Additive attention mask ``[B, 1, T, T]``: 0 where the key is not later and in the same document, -inf
    elsewhere."""
    same = documents[:, :, None] == documents[:, None, :]
    visible = same & torch.ones_like(same).tril()
    return torch.zeros_like(same, dtype=dtype).masked_fill_(~visible, float("-inf"))[:, None]
