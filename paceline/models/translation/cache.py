"""What decoding token by token keeps of a target: keys that later tokens may still see, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from paceline.errors import ShapeError
from paceline.models.translation.body import Source
from paceline.models.translation.layers import Keys
from paceline.patterns import Pattern

__all__ = ["Cache", "Past"]


class Past(Protocol):
    """What a decoder asks of whoever keeps a target's keys: a `Cache`, or the engine (`lm.py`)."""

    @property
    def source(self) -> Source: ...

    def places(self, count: int) -> Tensor: ...

    def extend(self, layer: int, fresh: Keys) -> tuple[Keys, Tensor]: ...

    def advance(self, count: int) -> None: ...


class Cache:
    """Keys of the tokens so far, behind their source; a pattern for each layer says which of them go.

    Keys leave when the next tokens come, not when they are last needed: so after several tokens were fed at once, such as a draft
    to be verified, any of these can be taken back by `crop`. With an order k, memory is that of k - 1 keys and of one call's
    tokens, however long the text. start: the place of the first token, where what stood before is out of sight.
    """

    def __init__(self, source: Source, patterns: Sequence[Pattern], start: int = 0) -> None:
        self.source, self.patterns, self.length, self.floor = source, patterns, start, start
        self.keys: list[Keys | None] = [None] * len(patterns)
        self.starts = [start] * len(patterns)

    def places(self, count: int) -> Tensor:
        """Of the next tokens, ``[T]``."""
        return torch.arange(self.length, self.length + count, dtype=torch.long, device=self.source.seen.device)

    def extend(self, layer: int, fresh: Keys) -> tuple[Keys, Tensor]:
        """The layer's keys, with those of the tokens now fed, and which of them each of these sees ``[T, S]``."""
        held, first = self.keys[layer], max(self.patterns[layer].keep(self.length)[1], self.starts[layer])
        if held is not None:
            gone = first - self.starts[layer]
            fresh = torch.cat([held[0][:, :, gone:], fresh[0]], 2), torch.cat([held[1][:, :, gone:], fresh[1]], 2)
            self.starts[layer] = first
        self.keys[layer] = fresh
        start, count = self.starts[layer], fresh[0].shape[2]
        places = torch.arange(start, start + count, dtype=torch.long, device=fresh[0].device)
        return fresh, self.patterns[layer].visible(places[self.length - self.starts[layer] :, None], places)

    def advance(self, count: int) -> None:
        """So many tokens went through all layers."""
        self.floor, self.length = self.length, self.length + count

    def crop(self, length: int) -> None:
        """Forget the tokens from place `length` on. Raises ShapeError where keys that would be needed are gone."""
        if not self.floor <= length <= self.length:
            raise ShapeError(f"A cache of {self.length} tokens can be cropped to {self.floor} or more, those before the last "
                             f"call; found {length}.")
        kept = [None if keys is None else (keys[0][:, :, : length - start], keys[1][:, :, : length - start])
                for keys, start in zip(self.keys, self.starts, strict=True)]
        self.keys, self.length = kept, length

    def reorder(self, rows: Tensor) -> None:
        """Let each row go on from another one of the same source."""
        self.keys = [None if keys is None else (keys[0][rows], keys[1][rows]) for keys in self.keys]

    def pick(self, rows: Tensor) -> Cache:
        """The same for some of its rows, also several times."""
        other = Cache(self.source.pick(rows), self.patterns, self.length)
        other.keys, other.starts, other.floor = self.keys, list(self.starts), self.floor
        other.reorder(rows)
        return other

    @property
    def bytes(self) -> int:
        """Memory of the target's keys."""
        return sum(part.numel() * part.element_size() for keys in self.keys if keys is not None for part in keys)
