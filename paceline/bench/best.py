"""The best fixed method, known only in hindsight: what a controller that chooses among them is measured against."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence

from paceline.bench.timing import Runs

__all__ = ["BEST_EACH", "BEST_OVERALL", "best_fixed"]

BEST_EACH, BEST_OVERALL = "best fixed, for each prompt", "best fixed, for all prompts"


def best_fixed(runs: dict[str, Runs], names: Sequence[str]) -> dict[str, tuple[Runs, dict[str, int]]]:
    """Both hindsights among these methods: their runs, and how often each method was the choice.

    It is chosen by the other repeats and timed in the one at hand, since the least of several noisy times is not the time of
    the best. All methods write the same text, so the least seconds are the most tokens a second. Needs two repeats.
    """
    groups = range(len(runs[names[0]].batches))
    return {BEST_EACH: _chosen(runs, names, [[g] for g in groups]), BEST_OVERALL: _chosen(runs, names, [list(groups)])}


def _chosen(runs: dict[str, Runs], names: Sequence[str], parts: Sequence[Sequence[int]]) -> tuple[Runs, dict[str, int]]:
    """One choice for each part, a list of groups, and repeat."""
    found, count = Runs([[] for _ in runs[names[0]].batches]), Counter[str]()
    for part in parts:
        for repeat in range(len(runs[names[0]].batches[part[0]])):
            best = min(names, key=lambda name: sum(_elsewhere(runs[name], g, repeat) for g in part))
            count[best] += 1
            for g in part:
                found.batches[g].append(runs[best].batches[g][repeat])
    return found, dict(count)


def _elsewhere(runs: Runs, group: int, repeat: int) -> float:
    """Median seconds of the other repeats."""
    return statistics.median(batch.seconds for i, batch in enumerate(runs.batches[group]) if i != repeat)
