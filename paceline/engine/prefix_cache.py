"""Finished texts whose keys are kept, so that a prompt that begins as one of them is not read again."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from paceline.core.row import Row
from paceline.core.trace import Trace
from paceline.lm.kv import KV, Slot, slot_of

__all__ = ["Prefix", "PrefixCache", "common", "held", "longest"]


@dataclass(frozen=True)
class Prefix:
    """Tokens whose keys are at hand in `slot`, and what attention asked there, where that was noted."""

    tokens: Sequence[int]
    slot: Slot
    trace: Trace | None = None


class PrefixCache:
    """Keeps the last `limit` texts in a cache of its own; iterating gives them as prefixes."""

    def __init__(self, kv: KV, limit: int) -> None:
        self.kv, self.limit = kv, limit
        self._kept: deque[Prefix] = deque()

    def __iter__(self) -> Iterator[Prefix]:
        return iter(self._kept)

    def keep(self, row: Row) -> None:
        """A row has ended: keep what it has in the target's cache; the oldest text makes room."""
        own = next(iter(held(row)), None)
        if not self.limit or own is None:
            return
        if len(self._kept) == self.limit:
            self.kv.free(self._kept.popleft().slot)
        if (slot := self.kv.fork(own.slot, len(own.tokens))) is not None:
            self._kept.append(Prefix(own.tokens, slot, own.trace))


def held(row: Row) -> list[Prefix]:
    """What is in the target's cache of each of a row's texts, but for those that a plan has made another model's."""
    return [Prefix(text.tokens[: slot.length], slot, row.trace if text is row else None)
            for text in row.texts for slot in [slot_of(text)] if not slot.plan]


def longest(prompt: Sequence[int], prefixes: Iterable[Prefix]) -> tuple[int, Prefix | None]:
    """How many of a prompt's first tokens are at hand, and where. Keys that a window has dropped count for nothing."""
    best, found = 0, None
    for prefix in prefixes:
        n = common(prefix.tokens, prompt)
        if n > best and prefix.slot.holds(n):
            best, found = n, prefix
    return best, found


def common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common prefix."""
    n = min(len(a), len(b))
    if list(a[:n]) == list(b[:n]):
        return n
    return next(i for i in range(n) if a[i] != b[i])
