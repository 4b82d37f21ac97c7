"""Numbers from raw measurements. Pure functions over lists; knows no model, no clock and no terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["accept_per_position", "expected_speedup", "figure", "first_divergence", "mean_ratio", "ratio", "share"]


def ratio(
    ours: np.ndarray, theirs: np.ndarray, rounds: np.ndarray | None = None, draws: int = 2000, seed: int = 0
) -> dict[str, Any]:
    """How many times faster `ours` is than `theirs`, with a bootstrap 95 % interval over prompts.

    ours, theirs: [P, 2], seconds and new tokens of the same P prompts (float64). The figure is a ratio of sums, tokens
    per second over tokens per second, never a mean of ratios (renewal view: throughput = E[tokens] / E[time]); where
    the texts are equal, as lossless runs' are, it is the plain ratio of times. Resampling is paired: a prompt brings
    both its times. rounds: [P, 2], rounds and new tokens of `ours`, where `theirs` is plain decoding by the same forward:
    neither the figure nor a sample of it exceeds the tokens a round, since no round is quicker than a plain one.
    """
    picks = np.random.default_rng(seed).integers(0, len(ours), (draws, len(ours)))
    once, spread = (_faster(part, ours, theirs, rounds) for part in (np.arange(len(ours)), picks))
    return figure(once, spread, len(ours))


def figure(value: Any, spread: np.ndarray, prompts: int) -> dict[str, Any]:
    """A value and the 95 % interval of its bootstrap samples, `low` to `high`; both None for one prompt, which has no spread."""
    low, high = map(float, np.quantile(spread, [0.025, 0.975])) if prompts > 1 else (None, None)
    return {"value": float(value), "low": low, "high": high}


def _faster(picks: np.ndarray, ours: np.ndarray, theirs: np.ndarray, rounds: np.ndarray | None = None) -> np.ndarray:
    """The ratio of rates for every sample of prompts, [..., P] -> [...]."""
    found = _rate(ours[picks].sum(-2)) / _rate(theirs[picks].sum(-2))
    return found if rounds is None else np.minimum(found, _rate(rounds[picks].sum(-2)))


def _rate(sums: np.ndarray) -> np.ndarray:
    return sums[..., 1] / np.maximum(sums[..., 0], 1e-12)


def mean_ratio(kinds: Sequence[Sequence[Any]], draws: int = 2000) -> dict[str, Any]:
    """The geometric mean over kinds of text of `ratio` within each, resampled in each: 2x and 0.5x average to 1x. kinds: for each
    what `ratio` takes.
    """
    generator, value, spread = np.random.default_rng(0), 0.0, np.zeros(draws)
    for arrays in kinds:
        prompts = len(arrays[0])
        value += np.log(_faster(np.arange(prompts), *arrays)) / len(kinds)
        spread += np.log(_faster(generator.integers(0, prompts, (draws, prompts)), *arrays)) / len(kinds)
    return figure(np.exp(value), np.exp(spread), min(len(arrays[0]) for arrays in kinds))


def share(flags: Sequence[bool]) -> float:
    """Share of true flags; of none at all, 1.0: nothing contradicted."""
    return float(np.mean(flags)) if len(flags) else 1.0


def first_divergence(text: Sequence[int], reference: Sequence[int]) -> int | None:
    """Index of the first token that differs, the shorter length where one is a prefix, None where equal."""
    for i, (a, b) in enumerate(zip(text, reference, strict=False)):
        if a != b:
            return i
    return None if len(text) == len(reference) else min(len(text), len(reference))


def accept_per_position(accepted: Sequence[Sequence[int]], rounds: int) -> list[float]:
    """Share of all rounds that accepted a node at depth 1, 2, … (vLLM's per-position acceptance rate), pooled over
    rows.
    """
    depth = max((len(a) for a in accepted), default=0)
    return [sum(a[i] for a in accepted if i < len(a)) / max(rounds, 1) for i in range(depth)]


def expected_speedup(acceptance_length: float, draft: float, verify: float, plain: float) -> float:
    """What the speed-up would be if only forwards took time: L · t_plain / (t_draft + t_verify), all seconds per round.

    Modelled, not measured: a measured speed-up far below it says that time is lost outside the forwards (the classic
    formula, Leviathan et al., arXiv 2211.17192, section 3.3, with measured costs for its c and without its v = 1). A round
    counts as at least a plain one, so that noise in the times cannot carry the figure above L.
    """
    return acceptance_length * (plain / max(draft + verify, plain, 1e-12))
