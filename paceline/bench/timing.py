"""The same prompts through every method, in turns, timed. Knows no model and no terminal.

Protocol: after a warm-up, every prompt runs through all methods back to back, forwards in even repeats and backwards in
odd ones (ABBA), so that drift of the machine hits all alike; a prompt's time is the median over repeats, prefill
included. All calls that do the same prefill are given one: two separate measurements of one and the same work differ by noise
alone, which must not pass for a gain of drafting.
"""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from paceline.bench.methods import Batch, Method
from paceline.core.stats import Stats, is_looping

__all__ = ["Group", "Runs", "decoding", "measure", "rounds", "table"]


@dataclass(frozen=True)
class Group:
    """Prompts that are decoded together (one, unless rows are measured), of one kind of text."""

    kind: str
    prompts: list[list[int]]


@dataclass
class Runs:
    """All timed calls of one method: `batches[g][r]` is group g in repeat r."""

    batches: list[list[Batch]]
    forwards: list[int | None] = field(default_factory=list)  # per group, for methods that keep no stats

    def seconds(self, group: int) -> float:
        return statistics.median(batch.seconds for batch in self.batches[group])

    def typical(self, group: int) -> Batch:
        """The call whose time is the (lower) median: the one whose stats are reported."""
        return sorted(self.batches[group], key=lambda batch: batch.seconds)[(len(self.batches[group]) - 1) // 2]

    def tokens(self, group: int) -> list[list[int]]:
        return self.batches[group][0].tokens

    def stats(self, group: int) -> list[Stats]:
        return self.typical(group).stats

    @property
    def forward(self) -> str | None:
        """Which of our forwards took the steps (`Batch.forward`); None for a rival, which keeps no stats."""
        return self.batches[0][0].forward if self.batches[0][0].stats else None

    def stable(self) -> bool:
        """True when every repeat wrote the same tokens."""
        return all(batch.tokens == calls[0].tokens for calls in self.batches for batch in calls)

    def loops(self, group: int) -> bool:
        """True when at least half of the group's outputs repeat themselves; for one row: when it does."""
        flags = [is_looping(tokens) for tokens in self.tokens(group)]
        return 2 * sum(flags) >= len(flags)


def measure(
    methods: Sequence[Method],
    groups: Sequence[Group],
    max_new_tokens: int,
    repeats: int,
    tick: Callable[[], None] = lambda: None,
) -> dict[str, Runs]:
    """Time every method on every group; method name -> its runs. `tick` is called after each timed call."""
    runs = {m.name: Runs([[] for _ in groups]) for m in methods}
    for method in methods:
        for group in groups[:2]:
            method.run(group.prompts, max_new_tokens)
    for repeat in range(repeats):
        order = list(methods) if repeat % 2 == 0 else list(reversed(methods))
        for index, group in enumerate(groups):
            for method in order:
                runs[method.name].batches[index].append(method.run(group.prompts, max_new_tokens))
                tick()
    for index in range(len(groups)):
        _share_prefill([found.batches[index] for found in runs.values()])
    for method in methods:
        runs[method.name].forwards = [_forwards(method, group, max_new_tokens) for group in groups]
    return runs


def _share_prefill(calls: Sequence[list[Batch]]) -> None:
    """Replace the prefill of every call of one group by the median over all methods and repeats that do the same one."""
    took = defaultdict[tuple[str, bool], list[float]](list)
    ours = [batches for batches in calls if batches[0].stats]
    for batch in (batch for batches in ours for batch in batches):
        took[batch.forward, batch.watched].append(batch.reading)
    for batches in ours:
        batches[:] = [b.reading_in(statistics.median(took[b.forward, b.watched])) for b in batches]


def _forwards(method: Method, group: Group, max_new_tokens: int) -> int | None:
    return method.count_forwards(group.prompts[0], max_new_tokens) if len(group.prompts) == 1 else None


def table(runs: Runs, groups: Sequence[int]) -> np.ndarray:
    """[G, 2] float64: median seconds and new tokens of each group."""
    return np.array([[runs.seconds(g), sum(map(len, runs.tokens(g)))] for g in groups], dtype=np.float64)


def decoding(runs: Runs, groups: Sequence[int]) -> np.ndarray:
    """The same without prefill, which no draft can shorten."""
    return table(runs, groups) - np.array([[runs.typical(g).reading, 0.0] for g in groups])


def rounds(runs: Runs, groups: Sequence[int]) -> np.ndarray:
    """[G, 2] float64: rounds and new tokens of each group, whose ratio is the acceptance length."""
    return np.array([[sum(s.rounds for s in runs.stats(g)), sum(map(len, runs.tokens(g)))] for g in groups], dtype=np.float64)
