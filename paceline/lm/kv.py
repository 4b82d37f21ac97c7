"""A key/value cache with slots: each holds one text, any accepted tree path is committed in place, and windows let go.

A forward writes the keys of its T new tokens behind the committed ones, as scratch; `keep` then decides which of them stay and
drops what no later token can see (invariant 4: evict at commit, never while scoring). Knows nothing of models: layers appear on
first write, each with its pattern, and layers of one pattern are a group. A slot is a table of groups (`held.py`), with memory of
its own, so that a long text makes no other slot larger; it may have a plan of its own, too, by which layers see less.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from paceline.core.protocols import Text
from paceline.errors import ModelError
from paceline.lm.held import Held
from paceline.patterns import Pattern, Plan
from paceline.patterns.full import Full
from paceline.patterns.sliding import Sliding

__all__ = ["KV", "Slot", "reaching", "slot_of"]

FULL = Full()
MARGIN = 64  # keys held beyond what the next token sees, for a draft that is taken back


@dataclass(eq=False)
class Slot:
    """Where one text's keys live: `length` of its tokens are committed, those before `first` were never read.

    `reads`: the slot of the model that a draft head reads, in that model's own cache. `plan`: patterns of this text alone, of
    layers that see less of it than the cache's say. `source`: what the text is a translation of, as an encoder-decoder keeps it.
    """

    kv: "KV"
    length: int = 0
    first: int = 0
    reads: "Slot | None" = None
    source: Any = None
    plan: Plan = field(default_factory=dict)
    held: dict[Pattern, Held] = field(default_factory=dict, repr=False)

    def pattern(self, layer: int, usual: Pattern = FULL) -> Pattern:
        """Of a layer: as planned, else as in the whole cache, where a layer keeps what is usual when it is first asked for."""
        return self.plan.get(layer) or self.kv.patterns.setdefault(layer, usual)

    def group(self, pattern: Pattern) -> Held:
        """What is held of the layers that share this pattern."""
        if pattern not in self.held:
            self.held[pattern] = Held()
            self.held[pattern].restart(self.first, self.kv.sinks(pattern))
        return self.held[pattern]

    def layer(self, layer: int) -> Held | None:
        """What is held of a layer's group; None where the layer was never written."""
        held = self.held.get(self.pattern(layer)) if layer in self.kv.patterns else None
        return held if held is not None and layer in held.layers else None

    def holds(self, length: int) -> bool:
        """Whether all keys are here that a token behind the first `length` ones can see."""
        return self.first <= length <= self.length and all(
            held.dropped <= max(self.first, pattern.keep(length)[1] - held.sinks) for pattern, held in self.held.items())

    @property
    def bytes(self) -> int:
        return sum(held.bytes for held in self.held.values())

    @property
    def token_bytes(self) -> int:
        """Of one token's keys and values in all layers."""
        return sum(held.token_bytes for held in self.held.values())

    @property
    def saved_bytes(self) -> int:
        """Of keys and values that its plan has let go."""
        planned = (held for pattern, held in self.held.items() if pattern in self.plan.values())
        return sum((held.dropped - self.first) * held.token_bytes for held in planned)


def reaching(window: int | None) -> Pattern:
    """Of a layer whose tokens see so many keys, themselves included; None = all."""
    return FULL if window is None else Sliding(window)


def slot_of(text: Text) -> Slot:
    """Where the target's cache holds a text that has begun to be read."""
    assert isinstance(text.slot, Slot), "a text has a slot from its first chunk on"
    return text.slot


class KV:
    """Keys and values of any number of texts.

    capacity: tokens that a slot begins with room for. quantum: room comes in multiples of it, and keys are dropped by it, so that
    blocks of a kernel that sums by so many keys begin at the same tokens, whenever they were dropped. tails: how much of a last,
    unfinished quantum a view may show, ascending; beyond the longest, all of it. exact: who attends over this cache must do so in
    the bit-exact mode. limit: most tokens a slot may hold; asking for more raises ModelError. window: how many of its last
    tokens are enough to begin a slot anew where its text goes on, 0 = all (a single layer's keys need no more than their tokens).
    patterns: of each layer; of one that is not named, its first forward tells.
    """

    def __init__(self, capacity: int = 512, quantum: int = 64, limit: int | None = None, tails: Sequence[int] = (),
                 exact: bool = False, window: int = 0, patterns: Mapping[int, Pattern] | None = None) -> None:
        self.capacity, self.quantum, self.limit, self.window = capacity, quantum, limit, window
        self.tails, self.exact = (*tails, quantum), exact
        self.active: list[Slot] = []
        self.patterns = dict(patterns or {})
        self.derived: dict[Any, Any] = {}  # what forwards keep here: tables of masks, of groups

    def round(self, length: int) -> int:
        """Up to the next multiple of the quantum."""
        return -(-length // self.quantum) * self.quantum

    def sinks(self, pattern: Pattern) -> int:
        """How many of a text's first keys are never dropped: whole quanta in exact mode, so that those which stay and those which
        come to stand behind them are never of one block.
        """
        sinks = pattern.keep(0)[0]
        return self.round(sinks) if self.exact else sinks

    def span(self, length: int) -> int:
        """Keys that a view of at least this length shows: whole quanta and the shortest tail that covers the rest."""
        whole = length // self.quantum * self.quantum
        rest = length - whole
        return whole + (min(t for t in self.tails if t >= rest) if rest else 0)

    @property
    def bytes(self) -> int:
        return sum(slot.bytes for slot in self.active)

    # -- slots -----------------------------------------------------------------------------------------------------------

    def take(self) -> Slot:
        """A new empty slot."""
        self.active.append(Slot(self))
        return self.active[-1]

    def free(self, slot: Slot) -> None:
        """Give a slot and its memory back."""
        self.active.remove(slot)
        slot.held, slot.source = {}, None
        self.restart(slot, 0)

    def fork(self, source: Slot, length: int) -> Slot | None:
        """A new slot for the first `length` tokens of the text in `source`, which may live in another cache; None where keys that
        the next token sees were dropped: the text has to be read again.
        """
        if not source.holds(length):
            return None
        slot = self.take()
        slot.first, slot.plan, slot.source = source.first, source.plan, source.source
        self.copy(source, slot, length)
        return slot

    @torch.inference_mode()
    def copy(self, source: Slot, slot: Slot, stop: int) -> None:
        """Go on in `slot` with another's keys of the same text, up to its first `stop` tokens; where the other has dropped some
        of them, what came before is dropped here too.
        """
        for usual, theirs in source.held.items():
            for layer, cache in theirs.layers.items():
                ours = slot.group(pattern := slot.pattern(layer, usual))
                if theirs.dropped > slot.length:
                    ours.dropped, ours.sinks = theirs.dropped, theirs.sinks
                start = max(0, slot.length - ours.dropped)
                rows = cache[:, :, start + ours.dropped - theirs.dropped : stop - theirs.dropped]
                self.reserve(layer, slot, pattern, rows[0], stop - ours.dropped)[:, :, start : start + rows.shape[2]] = rows
        slot.length = stop

    def follow(self, slot: Slot, plan: Plan) -> None:
        """From now on the text in `slot` sees by this plan, too. What its layers hold stays where it is, until a commit lets go
        of what is out of sight.
        """
        for layer, pattern in plan.items():
            before, slot.plan = slot.group(slot.pattern(layer)), {**slot.plan, layer: pattern}
            if layer in before.layers:
                before.move(layer, slot.group(pattern))

    def crop(self, slot: Slot, length: int) -> None:
        """Forget everything behind the first `length` tokens of the text; the whole text where the next token would then need
        keys that were dropped.
        """
        if length < slot.length and slot.holds(length):
            slot.length = length
        elif length < slot.length:
            self.restart(slot, 0)

    def restart(self, slot: Slot, position: int) -> None:
        """An empty slot whose next token stands at `position`: what is before it will not be looked at."""
        slot.length = slot.first = position
        for pattern, held in slot.held.items():
            held.restart(position, self.sinks(pattern))

    # -- keys ------------------------------------------------------------------------------------------------------------

    def check(self, length: int) -> None:
        """Raises ModelError where a text of so many tokens is too long."""
        if self.limit is not None and length > self.round(self.limit):
            raise ModelError(f"A sequence of {length} tokens does not fit: this cache holds {self.limit} tokens a slot.")

    def read(self, layer: int, slot: Slot, start: int, stop: int) -> torch.Tensor:
        """Keys and values [2, H, stop - start, D] of the tokens from `start` to `stop`: the only way to see them from outside.
        Raises ModelError for dropped ones.
        """
        held, first = slot.group(slot.pattern(layer)), self.start(layer, slot)
        if 0 <= start <= stop <= min(held.sinks, slot.length):
            return held.layers[layer][:, :, start:stop]
        if not first <= start <= stop <= slot.length:
            raise ModelError(f"Layer {layer} holds the keys of tokens {first} to {slot.length}, not of {start} to {stop}: "
                             "read the text again.")
        return held.layers[layer][:, :, start - held.dropped : stop - held.dropped]

    def start(self, layer: int, slot: Slot) -> int:
        """The first token, behind any sinks, whose keys a layer holds."""
        held = slot.group(slot.pattern(layer))
        return held.dropped + held.sinks if held.dropped else 0

    @torch.inference_mode()
    def fill(self, layer: int, slot: Slot, keys: torch.Tensor, usual: Pattern) -> None:
        """Let these keys and values [2, H, n, D] stand for all that a layer holds, sinks first; those of its group have to be as
        many. usual: as in `Slot.pattern`.
        """
        pattern, n = slot.pattern(layer, usual), keys.shape[2]
        held = slot.group(pattern)
        held.dropped, held.sinks = slot.length - n, self.sinks(pattern)
        self.reserve(layer, slot, pattern, keys[0], n)[:, :, :n] = keys

    def write(self, layer: int, slot: Slot, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Put new keys and values, each [H, T, D], behind the committed ones, as scratch. Returns the layer's tensor
        [2, H, capacity, D], in which the first committed token stands at 0 that is not dropped.
        """
        pattern = slot.pattern(layer)
        start = slot.length - slot.group(pattern).dropped
        cache = self.reserve(layer, slot, pattern, k, start + k.shape[1])
        cache[0, :, start : start + k.shape[1]], cache[1, :, start : start + k.shape[1]] = k, v
        return cache

    def reserve(self, layer: int, slot: Slot, pattern: Pattern, like: torch.Tensor, length: int) -> torch.Tensor:
        """A layer's tensor with room for so many keys like these [H, T, D]; it doubles where all of a text is held."""
        held = slot.group(pattern)
        if length > held.capacity:
            ahead = max(self.capacity, 2 * held.capacity) if pattern == FULL else 0
            held.resize(self.round(max(length, min(ahead, self.limit or ahead))))
        if layer not in held.layers:
            held.add(layer, like)
        return held.layers[layer]

    @torch.inference_mode()
    def keep(self, slots: Sequence[Slot], paths: Sequence[Sequence[int]]) -> None:
        """Commit, for each slot, the scratch tokens at these offsets (0 = first scratch token), in order. Then windows let go of
        what was out of sight before: a crop back to there finds all it needs.
        """
        for slot, path in zip(slots, paths, strict=True):
            stop = slot.length + len(path)
            for pattern, held in slot.held.items():
                if len(path) and path[-1] != len(path) - 1:  # ascending, so the last tells whether there are gaps
                    held.gather(slot.length - held.dropped, path)
                unseen = pattern.keep(slot.length)[1] - held.sinks - MARGIN
                if (dropped := unseen // self.quantum * self.quantum) > held.dropped:
                    fresh = pattern in slot.plan.values() and not held.dropped
                    held.drop(dropped, stop)
                    if fresh:  # a text that had been held whole
                        held.resize(self.round(stop - dropped + self.quantum))
            slot.length = stop
