"""What the reproduction of LongSpec makes of its counts: ratios and gains with intervals. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from paceline.bench.metrics import figure, ratio
from paceline.recipes.reproduce._record import Mean, mean_of
from paceline.replay.replay import per

__all__ = ["beside", "counted", "fall", "gained", "length_at"]


def counted(found: dict[str, Any], names: Sequence[str], kind: str | None = None, straight: bool = False) -> np.ndarray:
    """[P, lengths, 2]: forwards and tokens of every prompt, those of several heads added up. straight: only of prompts behind
    which no text goes round in circles at any length.
    """
    who = found["who"]
    each = sum(np.array([counts for k, prompts in who[name].items() if kind in (None, k) for counts in prompts], dtype=np.float64)
               for name in names)
    assert isinstance(each, np.ndarray)
    return each[each[..., 2].sum(1) == 0, :, :2] if straight else each[..., :2]


def length_at(found: dict[str, Any], names: Sequence[str], part: int, kind: str | None = None,
              straight: bool = False) -> dict[str, float]:
    """Tokens for each forward with a bootstrap interval over prompts."""
    counts = counted(found, names, kind, straight)[:, part]
    return per(counts[:, 0], counts[:, 1])  # type: ignore[arg-type]


def fall(found: dict[str, Any], names: Sequence[str], kind: str | None = None, straight: bool = False) -> dict[str, float]:
    """Acceptance length at the greatest length over that at the least, prompts resampled in pairs."""
    counts = counted(found, names, kind, straight)
    return ratio(counts[:, -1], counts[:, 0])


def beside(found: dict[str, Any], names: Sequence[str], other: str, straight: bool = False) -> dict[str, float]:
    """`fall` over that of another drafter on the same prompts."""
    ours, theirs = (counted(found, each, None, straight) for each in (names, [other]))

    def kept(sums: np.ndarray) -> np.ndarray:
        return (sums[..., -1, 1] / sums[..., -1, 0]) / (sums[..., 0, 1] / sums[..., 0, 0])

    picks = np.random.default_rng(0).integers(0, len(ours), (2000, len(ours)))
    spread = kept(ours[picks].sum(1)) / kept(theirs[picks].sum(1))
    return figure(kept(ours.sum(0)) / kept(theirs.sum(0)), spread, len(ours))


def gained(found: dict[str, Any], seeds: int, part: int) -> tuple[Mean, list[float]]:
    """How much lower offset positions' KL is in a part, in nats: mean with its interval over seeds; bootstrap 95 % over texts."""
    gains = np.array([np.array(found["kl"][f"plain, {seed}"])[:, part] - np.array(found["kl"][f"offset, {seed}"])[:, part]
                      for seed in range(seeds)])
    over_texts = gains.mean(0)
    picks = np.random.default_rng(0).integers(0, len(over_texts), (2000, len(over_texts)))
    return mean_of(gains.mean(1).tolist()), np.quantile(over_texts[picks].mean(1), [0.025, 0.975]).tolist()
