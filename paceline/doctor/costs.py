"""What decoding costs here, measured apart: forwards of 1 to 64 tokens for each number of rows, and every round of a run."""

from __future__ import annotations

import statistics
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from paceline.core.arms import Arm, Outcome, View
from paceline.core.proposal import Proposal
from paceline.core.protocols import Controller
from paceline.lm import KV, LM, Slot

__all__ = ["SIZES", "Curve", "Ledger", "Noted", "curve", "key_bytes", "weights_of"]

SIZES = (1, 2, 4, 8, 16, 32, 64)  # tokens of a row in one forward, the pending one included
REPEATS = 5
BURST, SPAN = 5, 0.04  # forwards of one size at a time, at least so many and for at least so many seconds


@dataclass(frozen=True)
class Noted:
    """One row's part of one round: how many rows it was decoded with, the largest tree among theirs, how long the text was."""

    outcome: Outcome
    rows: int
    largest: int
    length: int

    @property
    def branched(self) -> bool:
        """Whether what was scored is more than one path."""
        return self.outcome.drafted > len(self.outcome.accepted)


@dataclass
class Ledger:
    """A controller that lets another pick and keeps every round."""

    inner: Controller
    rounds: list[Noted] = field(default_factory=list)
    _views: dict[int, View] = field(default_factory=dict)

    @property
    def timed(self) -> bool:
        return self.inner.timed

    def pick(self, views: Sequence[View]) -> list[Arm]:
        self._views = {view.row: view for view in views}
        return list(self.inner.pick(views))

    def learn(self, outcomes: Sequence[Outcome]) -> None:
        largest = max(o.drafted for o in outcomes)
        self.rounds += [Noted(o, len(outcomes), largest, self._views[o.row].length) for o in outcomes]
        self.inner.learn(outcomes)

    def forget(self, row: int) -> None:
        self.inner.forget(row)


@dataclass(frozen=True)
class Curve:
    """Seconds of one forward: rows decoded together -> tokens of each row -> seconds. branching: what a tree costs beyond a chain
    of as many tokens, in seconds. prefix: tokens that stood before.
    """

    seconds: dict[int, dict[int, float]]
    branching: float = 0.0
    prefix: int = 0

    def at(self, rows: int, tokens: int) -> float:
        """Between the measured sizes on a straight line; beyond the largest as from the last two; rows as the next measured."""
        measured = self.seconds[min((r for r in self.seconds if r >= rows), default=max(self.seconds))]
        sizes = sorted(measured)
        if tokens in measured or len(sizes) == 1:
            return measured.get(tokens, measured[sizes[0]])
        place = min(max(1, bisect_left(sizes, tokens)), len(sizes) - 1)
        low, high = sizes[place - 1], sizes[place]
        return measured[low] + (tokens - low) / (high - low) * (measured[high] - measured[low])

    def relative(self, rows: int) -> dict[int, float]:
        """v(n): tokens of each row -> cost as a multiple of the plain step of so many rows."""
        return {size: seconds / self.seconds[rows][1] for size, seconds in self.seconds[rows].items()}

    def of(self, noted: Noted) -> float:
        """One row's share of a round's forward."""
        return (self.at(noted.rows, 1 + noted.largest) + noted.branched * self.branching) / noted.rows


@torch.inference_mode()
def curve(lm: LM, prompts: Sequence[Sequence[int]], rows: Sequence[int], sizes: Sequence[int] = SIZES) -> Curve:
    """Time `lm.score`, the very forward of a round, behind real prompts: sizes in turns, a few of each at a time, of which the
    fastest counts, and the median over a few passes.

    rows: largest numbers of rows asked for; the powers of two below are measured too, for when some have ended.
    """
    counts = sorted({*rows, *(1 << i for i in range(max(rows).bit_length()))})
    prefix = max(1, min(sum(map(len, prompts)) // len(prompts), lm.context - max(sizes) - 1))
    fitting = [size for size in sizes if size == 1 or prefix + size < lm.context]
    seconds = {count: _timed(lm, [_cut(p, prefix) for p in (list(prompts) * count)[:count]], fitting) for count in counts}
    return Curve(seconds, lm.costs.branching * seconds[1][1], prefix)


def _cut(prompt: Sequence[int], length: int) -> list[int]:
    """A prompt repeated or cut to one length, so that every forward stands behind as much text."""
    return (list(prompt) * (length // len(prompt) + 1))[: max(1, length)]


def _timed(lm: LM, prompts: Sequence[list[int]], sizes: Sequence[int]) -> dict[int, float]:
    kv = lm.cache(lm.exact)
    slots = [kv.take() for _ in prompts]
    for slot, prompt in zip(slots, prompts, strict=True):
        lm.prefill(kv, slot, prompt[:-1])
    times: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(REPEATS):
        for size in sizes:
            proposals = [Proposal.chain(prompt[-1:] * (size - 1), "time") for prompt in prompts]
            times[size].append(_burst(lambda p=proposals: _once(lm, kv, slots, prompts, p)))  # type: ignore[misc]
    return {size: statistics.median(found) for size, found in times.items()}


def _burst(once: Callable[[], float]) -> float:
    """The fastest of a burst's second half: the first finds the processor's cache and clock as a larger size left them."""
    burst: list[float] = []
    while len(burst) < BURST or sum(burst) < SPAN:
        burst.append(once())
    return min(burst[len(burst) // 2 :])


def _once(lm: LM, kv: KV, slots: Sequence[Slot], prompts: Sequence[list[int]], proposals: Sequence[Proposal]) -> float:
    start = time.perf_counter()
    lm.score(kv, slots, [prompt[-1] for prompt in prompts], proposals)[-1].argmax().item()
    return time.perf_counter() - start


def key_bytes(lm: LM) -> int:
    """Bytes of keys and values that one token of text holds."""
    kv = lm.cache(lm.exact)
    slot = kv.take()
    lm.prefill(kv, slot, [0])
    return slot.token_bytes


def weights_of(drafter: Any, target: LM) -> int:
    """Bytes of the weights that an attached drafter, and those it wraps, hold beside the target's; 0 = it runs no model."""
    inner = getattr(drafter, "inner", ())
    wrapped = inner if isinstance(inner, list | tuple) else [inner]
    own = getattr(getattr(drafter, "lm", None), "model", None)
    theirs = {id(p) for p in target.model.parameters()}
    held = {id(p): p for p in own.parameters()} if own is not None else {}
    mine = sum(p.numel() * p.element_size() for key, p in held.items() if key not in theirs)
    return mine + sum(weights_of(each, target) for each in wrapped)
