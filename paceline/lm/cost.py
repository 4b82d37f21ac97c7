"""What forwards cost, measured on the model at hand: the base of every decision whether a draft is worth its price.

Machines are shared and what a forward costs changes with who else is busy: a step of one token waits for memory, one of sixteen
for arithmetic. So costs are medians of the last few forwards, and one of each is measured again now and then. They are kept on
disk (`kept.py`): what one process has measured is what the next one on this machine begins with.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakSet

import torch

from paceline.errors import DataError
from paceline.lm import kept
from paceline.lm.batch import Batch
from paceline.lm.kv import Slot
from paceline.lm.plain_steps import PlainSteps, median

if TYPE_CHECKING:  # a model has its costs
    from paceline.lm.protocols import CausalLM

__all__ = ["Costs", "behind"]

PREFIX = 8
STEP = 2  # sizes of forwards that are measured: 1, 2, 4, 8, … tokens a row; between them costs lie on straight lines
NEAR = 1.25  # times a measured size up to which the line below it is good enough
REPEATS, QUICK = (3, 9), 0.01  # times that a forward is run, at least and at most; at least once where it takes longer than this
ENOUGH = 0.006  # seconds after which a forward was run often enough
SHARE, LONGEST = 0.005, 0.25  # of all time that measuring again may take; seconds at a stretch beyond which it is not done
MORE = 4  # further tokens a row over which the cost of one is taken
MOST_ROWS = 16  # more rows than these are taken to cost as these
COMB = 16  # nodes of the tree that is tried
LONG, TRIED = 1024, 8  # tokens of a text behind which costs are measured anew; further tokens a row over which
FRESH = 86400  # seconds for which what is on disk is believed
UNKNOWN = 0.12  # cost of a token where the context is too short to try


Size = tuple[int, bool]  # tokens of a forward, and whether they are a tree


class Costs:
    """Seconds of forwards of a model, an `LM` or a draft head; reads: the target whose keys a head reads. file: where they are
    kept, if they are. plain: what plain steps take in whole rounds, behind texts of any length.
    """

    def __init__(self, lm: CausalLM, reads: CausalLM | None = None, file: Path | None = None) -> None:
        self.lm, self.reads, self.file = lm, reads, file
        self.plain = PlainSteps(self.seconds)
        self._seen: dict[Size, deque[float]] = {}
        self._typical: dict[Size, float] = {}
        self._extra: dict[tuple[int, int], float] = {}
        self._stretch: dict[tuple[int, int], float] = {}  # by rows and the length's power of two
        self._drafting = WeakSet[Costs]()  # of models that draft for this one, as long as they are there
        self._due = 0.0
        if file is not None:
            self._recall(file)

    def seconds(self, tokens: int) -> float:
        """Of a forward of so many tokens behind a short prefix."""
        self._ensure((tokens, False))
        return self._typical[tokens, False]

    def ready(self, nodes: int) -> None:
        """Have measured what rounds of up to so many nodes ask for, as far as the context goes, before one is timed."""
        most, sizes = min(1 + nodes, self.lm.context - PREFIX - 1), list[Size]()
        while (size := STEP ** len(sizes)) <= most:
            sizes.append((size, False))
        self._ensure(*sizes)
        _ = self.branching

    def renew(self, slots: Sequence[Slot] = ()) -> None:
        """Measure what is known once more, and what is known of models that draft for this one, if it is time for that: to be
        called often, and where nothing else is being timed. slots: the rows being decoded, behind which further tokens may cost
        more than behind a short text: measured once for each power of two of a long text's length.
        """
        if self._seen and slots:
            self._look_behind(slots)
        if not self._seen or (begun := time.perf_counter()) < self._due:
            return
        for costs in (self, *self._drafting):
            if costs._seen and sum(costs._typical.values()) < LONGEST:
                costs._measure(list(costs._seen), turns=1)
        self._due = time.perf_counter() + (time.perf_counter() - begun) / SHARE

    def _look_behind(self, slots: Sequence[Slot]) -> None:
        length = max(slot.length for slot in slots)
        if length < LONG or spot(len(slots), length) in self._stretch or length + TRIED + 1 >= self.lm.reach:
            return
        one, more = (behind(self.lm, slots, tokens, repeats=2) for tokens in (1, 1 + TRIED))
        self._stretch[spot(len(slots), length)] = max(0.0, more / one - 1) / self.extra(TRIED, len(slots))

    def token(self, rows: int = 1, length: int = 0) -> float:
        """What one more token costs each of so many rows, as a share of their forward of one token each: from 0.01 up. length: of
        the longest of their texts.

        Below 1 a token that is certain to be accepted is worth drafting; with many rows the cost rises to 1, since arithmetic,
        not the reading of weights, is what a forward then waits for.
        """
        return self.extra(MORE, rows, length) / MORE

    def further(self, nodes: int, rows: int = 1, length: int = 0) -> float:
        """What one more token costs each row where each has so many already, as a share of their forward of one token each.

        Arithmetic begins to count at some number of tokens, so the tenth costs more than the second.
        """
        line = self._line(max(nodes, 1), clamped(rows))
        return UNKNOWN if line is None else max(0.01, line[1] * self._stretch.get(spot(rows, length), 1.0))

    def extra(self, nodes: int, rows: int = 1, length: int = 0) -> float:
        """What so many more tokens cost each row together, as a share of their forward of one token each."""
        known = self._extra.get((nodes, rows))
        if known is None:
            line = self._line(1 + nodes, clamped(rows))
            known = self._extra[nodes, rows] = UNKNOWN * nodes if line is None else max(0.01 * nodes, line[0] - 1)
        return known * self._stretch.get(spot(rows, length), 1.0)

    def _line(self, tokens: int, rows: int) -> tuple[float, float] | None:
        """Cost of a forward of so many tokens a row, and of one more, as shares of one token a row; None where the context is too
        short to measure it.
        """
        low = 1
        while tokens > NEAR * low * STEP:
            low *= STEP
        high = low * STEP
        if self.lm.context < PREFIX + high * rows + 1:
            return None
        sizes: list[Size] = [(rows, False), (low * rows, False), (high * rows, False)]
        self._ensure(*sizes)
        one, below, above = (self._typical[size] for size in sizes)
        slope = (above - below) / (high - low)
        return (below + (tokens - low) * slope) / one, slope / one

    @property
    def branching(self) -> float:
        """What a tree costs beyond a chain of as many nodes, as a share of a forward of one token: who sees whom has to be told,
        and a path with gaps to be brought together in the cache.
        """
        if self.lm.context < PREFIX + COMB + 1:
            return UNKNOWN
        self._ensure((1, False), (COMB, False), (COMB, True))
        return max(0.0, (self._typical[COMB, True] - self._typical[COMB, False]) / self._typical[1, False])

    def draft(self, small: Costs, rows: int = 1) -> float:
        """A step of a drafting model as a share of ours, for so many rows."""
        rows = clamped(rows)
        if min(self.lm.context, small.lm.context) < PREFIX + rows + 1:
            return UNKNOWN
        self._drafting.add(small)
        return small.seconds(rows) / self.seconds(rows)

    def _ensure(self, *sizes: Size) -> None:
        """Have these forwards measured; known ones again where one is new."""
        if any(size not in self._seen for size in sizes):
            begun = time.perf_counter()
            self._measure(sizes, turns=1 + REPEATS[1])
            self._due = max(self._due, time.perf_counter() + (time.perf_counter() - begun) / SHARE)

    @torch.inference_mode()
    def _measure(self, sizes: Sequence[Size], turns: int) -> None:
        """Sizes take turns, so that what disturbs the machine for a while spoils none of them."""
        slot = self._filled(self.lm, None if self.reads is None else self._filled(self.reads, None))
        best, begun = dict.fromkeys(sizes, float("inf")), time.perf_counter()
        for turn in range(turns):
            least = REPEATS[0] if max(best.values()) < QUICK else 1
            if turn > least and time.perf_counter() - begun > ENOUGH * len(best):
                break
            for size in best:
                seconds = self._once(slot, *size)
                self._seen.setdefault(size, deque(maxlen=REPEATS[1])).append(seconds)
                best[size] = min(best[size], seconds)
        self._typical |= {size: median(self._seen[size]) for size in sizes}
        self._extra.clear()
        if self.file is not None:
            with suppress(DataError):  # then the next process measures as well
                kept.write(self.file, {"seconds": [[*size, *seen] for size, seen in self._seen.items()]})

    def _recall(self, file: Path) -> None:
        """Begin with what an earlier process has measured; what is old, broken or foreign is measured anew."""
        with suppress(OSError, ValueError, TypeError, KeyError):
            if time.time() - file.stat().st_mtime > FRESH:
                return
            found = {(tokens, tree): times(seen) for tokens, tree, *seen in kept.read(file)["seconds"]
                     if 0 < tokens < self.lm.context - PREFIX}
            self._seen = {size: deque(seen, maxlen=REPEATS[1]) for size, seen in found.items()}
            self._typical = {size: median(seen) for size, seen in found.items()}
            self._due = time.perf_counter() + sum(self._typical.values()) / SHARE

    def _once(self, slot: Slot, tokens: int, comb: bool) -> float:
        """Seconds of one forward, and for a tree of bringing a path together; the slot is left as it was."""
        parents = [[-1, *range(tokens // 2), *range(tokens - tokens // 2 - 1)]] if comb else None
        batch = Batch.of([slot], [[0] * tokens], parents)
        start = time.perf_counter()
        self.lm.forward(batch, slot.kv)[0].argmax().item()  # on an accelerator the forward is only now done
        if comb:
            slot.kv.keep([slot], [[0, tokens - 1]])
            slot.kv.crop(slot, PREFIX)
        return time.perf_counter() - start

    def _filled(self, lm: CausalLM, reads: Slot | None) -> Slot:
        """A slot that holds a short text, and reads another where it is a head's."""
        kv = lm.cache(lm.exact)
        slot = kv.take()
        slot.reads = reads
        lm.prefill(kv, slot, [0] * PREFIX)
        return slot


def times(seconds: list[float]) -> list[float]:
    """As they are. Raises ValueError or TypeError where these are no times."""
    if not seconds or not all(0 < each < float("inf") for each in seconds):
        raise ValueError(f"Expected seconds of forwards; found {seconds}.")
    return seconds


def spot(rows: int, length: int) -> tuple[int, int]:
    """What is alike: so many rows, and texts of about such a length."""
    return clamped(rows), length.bit_length()


def clamped(rows: int) -> int:
    """Rows as powers of two, so that few are measured."""
    return 1 << (min(max(rows, 1), MOST_ROWS) - 1).bit_length()


@torch.inference_mode()
def behind(lm: CausalLM, slots: Sequence[Slot], tokens: int, repeats: int = 3) -> float:
    """Seconds of a forward of so many tokens a row behind what these slots hold, the best of a few; nothing is committed."""
    batch, best = Batch.of(slots, [[0] * tokens] * len(slots)), float("inf")
    for _ in range(repeats + 1):
        start = time.perf_counter()
        lm.forward(batch, slots[0].kv)[-1].argmax().item()  # on an accelerator the forward is only now done
        best = min(best, time.perf_counter() - start)
    return best
