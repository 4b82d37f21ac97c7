"""Who joins, and whose prompt is read next: in chunks between the rounds, so that a long prompt stalls nobody.

Source: the stall-free schedule of Sarathi-Serve (Agrawal et al. 2024, arXiv 2403.02310). Departure: a chunk is a forward of its
own, since its cost must not enter what a round's drafts have cost. Chunks end at multiples of CHUNK from the prompt's own start,
whatever was at hand of it, so that its keys do not depend on who asks.
"""

import math
from collections import deque
from collections.abc import Sequence

from paceline.core.protocols import Text
from paceline.core.row import Row
from paceline.core.trace import Trace
from paceline.engine.prefix_cache import PrefixCache, common, held, longest
from paceline.engine.timing import Timing
from paceline.lm import LM
from paceline.lm.kv import KV, slot_of
from paceline.lm.lm import CHUNK
from paceline.selectors import LayerSelector

__all__ = ["Scheduler"]


class Scheduler:
    """`queue`: rows that wait for one of the `slots`; `reading`: those that have one, until their prompts are in the cache.

    Rows take turns. While others decode, CHUNK tokens of prompts are read before a round (of a guided row, of each prompt): a
    prompt no longer than that waits for one chunk of every longer one, however long. While nobody decodes, everybody's next chunk
    is read, so that rows that came together go on together. watched: a drafter wants to see what attention asks in a prompt.

    A row with a selector gets its plan when its prompt is read, or as much of it as the selector waits for. It shares no keys,
    since it has to see itself what attention asks, and what it then holds is its own.
    """

    def __init__(self, lm: LM, kv: KV, prefixes: PrefixCache, slots: int, watched: bool) -> None:
        self.lm, self.kv, self.prefixes, self.slots, self.watched = lm, kv, prefixes, slots, watched
        self.queue: deque[Row] = deque()
        self.reading: deque[Row] = deque()

    def advance(self, rows: list[Row]) -> None:
        """Between two rounds: fill free slots and read on; rows whose prompts are read join `rows`, those that are decoded."""
        while self.queue and len(rows) + len(self.reading) < self.slots:
            self.reading.append(self.queue.popleft())
        left = CHUNK if rows else math.inf
        for row in list(self.reading):  # who has waited longest comes first
            clock = Timing()
            try:
                if row.slot is None and not self._begin(row, rows):
                    continue
                size = sum(len(chunk_of(text)) for text in row.texts)
                if size > left < CHUNK:  # whoever comes first is read, a guided row's two chunks too
                    return
                self._read(row)
            except BaseException:  # an interruption, too, must not keep slots
                self.cancel(row)
                raise
            left -= size
            clock.lap("prefill")
            clock.share(row.stats.seconds)
            self.reading.remove(row)
            whole = all(slot_of(text).length == len(text.tokens) - 1 for text in row.texts)
            (rows if whole else self.reading).append(row)

    def cancel(self, row: Row) -> None:
        """End a row that has not joined yet."""
        (self.queue if row in self.queue else self.reading).remove(row)
        row.finish_reason = "cancelled"
        self.release(row)

    def release(self, row: Row) -> None:
        """Give back the slots that a row's texts hold."""
        for text in row.texts:
            if text.slot is not None:
                self.kv.free(slot_of(text))

    def _begin(self, row: Row, rows: Sequence[Row]) -> bool:
        """Give a row its slots, with what is at hand of its prompts. False where it had better wait, since a prompt that is being
        read will soon hold more of one.
        """
        shares = row.request.selector is None
        begun = [other for other in self.reading if other.slot is not None and shares]
        sources = [*(prefix for other in (*rows, *begun) for prefix in held(other)), *self.prefixes] if shares else []
        found = [longest(text.tokens[:-1], sources) for text in row.texts]
        coming = [text.tokens[:-1] for other in begun for text in other.texts]
        if any(common(text.tokens[:-1], prompt) > n for text, (n, _) in zip(row.texts, found, strict=True) for prompt in coming):
            return False
        for text, (n, prefix) in zip(row.texts, found, strict=True):
            slot = None if prefix is None else self.kv.fork(prefix.slot, n)
            text.slot = slot = slot or self.kv.take()
            row.stats.reused += slot.length
            if self._wanted(row, text):
                text.trace = Trace() if prefix is None or prefix.trace is None else prefix.trace.before(slot.length)
        return True

    def _read(self, row: Row) -> None:
        """The next chunk of each of a row's prompts."""
        for text in row.texts:
            watch = {"watch": wanted} if (wanted := self._wanted(row, text)) else {}
            slot, chunk = slot_of(text), chunk_of(text)
            asked = self.lm.prefill(self.kv, slot, chunk, **watch)
            if text.trace is not None:
                text.trace.add(asked.queries, asked.positions)
            selector = row.request.selector
            if selector is not None and slot.length == telling(text, selector).stop and (chunk or not slot.length):
                self._plan(row, text)

    def _wanted(self, row: Row, text: Text) -> frozenset[int]:
        """Positions of a text's prompt at which somebody wants to see what attention asks."""
        selector = row.request.selector
        last = range(0) if selector is None else telling(text, selector)
        return frozenset(last) | (row.request.kept if self.watched and text is row else frozenset())

    def _plan(self, row: Row, text: Text) -> None:
        """Let some layers of a text go on with few keys. Where its prompt is read, its last token, still to come, sees all."""
        slot = slot_of(text)
        whole = slot.length == len(text.tokens) - 1
        plan = row.request.selector.select(text.trace, slot, since=slot.length + whole)
        self.kv.follow(slot, plan)
        row.stats.cut_layers = sorted({*row.stats.cut_layers, *plan})


def telling(text: Text, selector: LayerSelector) -> range:
    """Which tokens of a prompt tell its layers apart: the last ones of what is read when the selector is asked."""
    whole = len(text.tokens) - 1
    stop = whole if selector.early is None else min(whole, -(-selector.early // CHUNK) * CHUNK)
    return range(max(0, stop - selector.last), stop)


def chunk_of(text: Text) -> list[int]:
    """What is read next of a text's prompt: up to a multiple of CHUNK, or to all but the pending token."""
    start = slot_of(text).length
    return text.tokens[start : min(len(text.tokens) - 1, (start // CHUNK + 1) * CHUNK)]
