"""Numbers from raw measurements. Pure functions over lists; knows no model, no clock and no terminal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["accept_per_position", "expected_speedup", "first_divergence", "mean_ratio", "ratio", "share"]


def ratio(ours: np.ndarray, theirs: np.ndarray, draws: int = 2000, seed: int = 0) -> dict[str, float]:
    """How many times faster `ours` is than `theirs`, with a bootstrap 95 % interval over prompts.

    ours, theirs: [P, 2], seconds and new tokens of the same P prompts (float64). The figure is a ratio of sums, tokens
    per second over tokens per second, never a mean of ratios (renewal view: throughput = E[tokens] / E[time]); where
    the texts are equal, as lossless runs' are, it is the plain ratio of times. Resampling is paired: a prompt brings
    both its times.
    """
    picks = np.random.default_rng(seed).integers(0, len(ours), (draws, len(ours)))
    spread = _rate(ours[picks].sum(1)) / _rate(theirs[picks].sum(1))
    low, high = np.quantile(spread, [0.025, 0.975])
    return {"value": float(_rate(ours.sum(0)) / _rate(theirs.sum(0))), "low": float(low), "high": float(high)}


def _rate(sums: np.ndarray) -> np.ndarray:
    return sums[..., 1] / np.maximum(sums[..., 0], 1e-12)


def mean_ratio(pairs: Sequence[tuple[np.ndarray, np.ndarray]], draws: int = 2000, seed: int = 0) -> dict[str, float]:
    """The geometric mean over kinds of text of `ratio` within each, resampled in each: 2x and 0.5x average to 1x."""
    generator, value, spread = np.random.default_rng(seed), 0.0, np.zeros(draws)
    for ours, theirs in pairs:
        picks = generator.integers(0, len(ours), (draws, len(ours)))
        value += float(np.log(_rate(ours.sum(0)) / _rate(theirs.sum(0)))) / len(pairs)
        spread += np.log(_rate(ours[picks].sum(1)) / _rate(theirs[picks].sum(1))) / len(pairs)
    low, high = np.exp(np.quantile(spread, [0.025, 0.975]))
    return {"value": float(np.exp(value)), "low": float(low), "high": float(high)}


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
    formula, Leviathan et al., arXiv 2211.17192, section 3.3, with measured costs for its c and without its v = 1).
    """
    return acceptance_length * plain / max(draft + verify, 1e-12)
