"""A batched key/value cache with slots: preallocated, one length per slot, any accepted tree path committed in place.

A forward writes the keys of its T new tokens behind the committed ones, as scratch; `keep` then decides which of them stay
(invariant 4: evict at commit, never while scoring). Knows nothing of models: layers appear on first write.

Active slots always fill indices 0 … n - 1, so that the rows of a batch are one view and never a gathered copy: when a slot is
freed, the last one moves into its place, and its `Slot` object, which callers hold, learns its new index.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from paceline.errors import ModelError

__all__ = ["KV", "Slot"]


@dataclass(eq=False)
class Slot:
    """Where one sequence's keys live: `index` may change when another slot is freed; `length` counts committed tokens that are
    held, `dropped` those before them that a window has let go.

    `reads`: the slot of the model that a draft head reads, in that model's own cache.
    """

    index: int
    kv: "KV"
    length: int = 0
    reads: "Slot | None" = None
    dropped: int = 0

    @property
    def position(self) -> int:
        """Of the next token in its text."""
        return self.dropped + self.length


class KV:
    """Keys and values of up to `slots` sequences, `capacity` tokens each; both double when more is asked for.

    Layer tensors are [2, slots, H, capacity, D] (0 = keys, 1 = values). `quantum`: capacities are rounded up to it. `tails`: how
    much of a last, unfinished quantum a view may show, ascending; beyond the longest, all of it. `exact`: whoever attends over
    this cache must do so in the bit-exact mode. `limit`: most tokens a slot may hold; asking for more raises ModelError.
    `window`: how many of its last tokens a slot has to keep, 0 = all; with one the capacity is fixed: when there is no room for
    new tokens, the last `window` ones move to the front, so they always lie in the order of the text.
    """

    def __init__(self, slots: int = 1, capacity: int = 512, quantum: int = 64, limit: int | None = None,
                 tails: Sequence[int] = (), exact: bool = False, window: int = 0) -> None:
        self.window = window
        self.quantum, self.limit, self.tails, self.exact = quantum, limit, (*tails, quantum), exact
        self.capacity = self.round(capacity)
        self.room = slots
        self.active: list[Slot] = []
        self.layers: list[torch.Tensor | None] = []
        self.derived: dict[Any, Any] = {}  # what others keep as long as the layers stay: mask tables, addresses

    def round(self, length: int) -> int:
        """Up to the next multiple of the quantum."""
        return -(-length // self.quantum) * self.quantum

    def span(self, length: int) -> int:
        """Keys that a view of at least this length shows: whole quanta and the shortest tail that covers the rest."""
        whole = length // self.quantum * self.quantum
        rest = length - whole
        return whole + (min(t for t in self.tails if t >= rest) if rest else 0)

    def take(self) -> Slot:
        """A new empty slot at the end of the active ones."""
        if len(self.active) == self.room:
            self._resize(2 * self.room, self.capacity)
        slot = Slot(len(self.active), self)
        self.active.append(slot)
        return slot

    @torch.inference_mode()
    def free(self, slot: Slot) -> None:
        """Give a slot back; the last active one moves into its place."""
        last = self.active.pop()
        if last is not slot:
            self._copy(last.index, slot.index, last.length)
            self.active[slot.index], last.index = last, slot.index
        slot.index, slot.length, slot.dropped = -1, 0, 0

    @torch.inference_mode()
    def clone(self, source: Slot, length: int, home: "KV | None" = None) -> Slot:
        """A new slot for the first `length` tokens of the text in `source`, which may live in another cache (`home`). Raises
        ModelError where a window has let go of keys that the next token has to see.
        """
        home, held = home or self, length - source.dropped
        if held < (min(home.window, length) if length < source.position and source.dropped else 0) or held > source.length:
            raise ModelError(f"A copy of the first {length} tokens needs keys that this slot does not hold: it has those from "
                             f"{source.dropped} to {source.position}. Read the text again.")
        slot = self.take()
        self.reserve(held)
        for i, theirs in enumerate(home.layers):
            if theirs is not None:
                self.layer(i, theirs[0])[:, slot.index, :, :held] = theirs[:, source.index, :, :held]
        slot.length, slot.dropped = held, source.dropped
        return slot

    def crop(self, slot: Slot, length: int) -> None:
        """Forget everything behind the first `length` tokens of the text."""
        slot.length = max(0, min(slot.length, length - slot.dropped))

    def reserve(self, length: int) -> None:
        """Make room for `length` tokens in every slot, by doubling. Raises ModelError beyond the limit."""
        if length <= self.capacity:
            return
        capacity = self.capacity
        while capacity < length:
            capacity *= 2
        if self.limit is not None:
            if length > self.round(self.limit):
                raise ModelError(f"A sequence of {length} tokens does not fit: this cache holds {self.limit} tokens a slot.")
            capacity = min(capacity, self.round(self.limit))
        self._resize(self.room, capacity)

    def restart(self, slot: Slot, position: int) -> None:
        """An empty slot whose next token stands at `position`: what is before it will not be looked at."""
        slot.length, slot.dropped = 0, position

    @torch.inference_mode()
    def slide(self, slots: Sequence[Slot], width: int) -> None:
        """Make room for `width` tokens behind each slot's window. Raises ModelError where there can be none."""
        if self.window + width > self.capacity:
            raise ModelError(f"A window of {self.window} keys with room for {self.capacity - self.window} new ones cannot take "
                             f"{width} at once.")
        for slot in slots:
            if slot.length + width > self.capacity:
                gone = slot.length - self.window
                for cache in self.layers:
                    if cache is not None:
                        cache[:, slot.index, :, : self.window] = cache[:, slot.index, :, gone : slot.length].clone()
                slot.dropped, slot.length = slot.dropped + gone, self.window

    def write(self, layer: int, slots: Sequence[Slot], k: torch.Tensor, v: torch.Tensor) -> None:
        """Put new keys and values, each [B, H, T, D], behind the committed tokens of each slot, as scratch."""
        cache = self.layer(layer, k)
        t = k.shape[2]
        for b, slot in enumerate(slots):
            start = slot.length
            cache[0, slot.index, :, start : start + t] = k[b]
            cache[1, slot.index, :, start : start + t] = v[b]

    def layer(self, layer: int, like: torch.Tensor) -> torch.Tensor:
        """A layer's tensor [2, slots, H, capacity, D], made on first use after `like` [B, H, T, D]."""
        while len(self.layers) <= layer:
            self.layers.append(None)
        cache = self.layers[layer]
        if cache is None:
            h, d = like.shape[1], like.shape[3]
            cache = self.layers[layer] = like.new_zeros((2, self.room, h, self.capacity, d))
            self.derived.clear()
        return cache

    def index(self, slots: Sequence[Slot]) -> slice | list[int]:
        """How to read these slots: a slice when their indices are consecutive (a view), else a list (a copy)."""
        first = slots[0].index
        if all(slot.index == first + b for b, slot in enumerate(slots)):
            return slice(first, first + len(slots))
        return [slot.index for slot in slots]

    def view(self, layer: int, index: slice | list[int], length: int) -> torch.Tensor:
        """Keys and values [2, B, H, length, D] of the slots at `index`."""
        cache = self.layers[layer]
        assert cache is not None, "a layer is written before it is read"
        return cache[:, index, :, :length]

    def keep(self, slots: Sequence[Slot], paths: Sequence[Sequence[int]]) -> None:
        """Commit, for each slot, the scratch tokens at these offsets (0 = first scratch token), in order."""
        for slot, path in zip(slots, paths, strict=True):
            if len(path) and path[-1] != len(path) - 1:  # ascending, so the last tells whether there are gaps
                self._move(slot, path)
            slot.length += len(path)

    @torch.inference_mode()
    def _move(self, slot: Slot, path: Sequence[int]) -> None:
        """Bring the scratch tokens at these offsets together."""
        source = torch.tensor(path, dtype=torch.long, device="cpu") + slot.length
        for cache in self.layers:
            if cache is not None:
                moved = cache[:, slot.index, :, source.to(cache.device)]
                cache[:, slot.index, :, slot.length : slot.length + len(path)] = moved

    @property
    def bytes(self) -> int:
        return sum(c.numel() * c.element_size() for c in self.layers if c is not None)

    def _copy(self, source: int, target: int, length: int) -> None:
        for cache in self.layers:
            if cache is not None:
                cache[:, target, :, :length] = cache[:, source, :, :length]

    @torch.inference_mode()
    def _resize(self, room: int, capacity: int) -> None:
        for i, old in enumerate(self.layers):
            if old is not None:
                new = old.new_zeros((2, room, old.shape[2], capacity, old.shape[4]))
                new[:, : self.room, :, : self.capacity] = old
                self.layers[i] = new
        self.room, self.capacity = room, capacity
        self.derived.clear()
