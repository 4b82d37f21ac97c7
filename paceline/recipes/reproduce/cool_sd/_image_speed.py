"""Wall clock of drawing images one after the other: plainly, with exact drafts and with relaxed ones, in turns."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from paceline.bench.metrics import ratio
from paceline.engine import Engine
from paceline.lm import LM
from paceline.recipes.images import asked
from paceline.rules.annealed import Annealed

__all__ = ["ARMS", "speeds"]

PLAIN = "plain"
LONG = 8  # tokens ahead; a grown target bears more than the small one
ARMS: Mapping[str, tuple[Any, int]] = {
    PLAIN: ("lossless", 0), "exact, L = 5": ("lossless", 5), f"exact, L = {LONG}": ("lossless", LONG),
    "clamped 1.1, L = 5": (Annealed(1.1), 5), f"clamped 1.1, L = {LONG}": (Annealed(1.1, length=LONG), LONG),
    f"clamped 2, L = {LONG}": (Annealed(2.0, length=LONG), LONG),
    f"uniform 1.5, L = {LONG}": (Annealed(1.5, schedule="uniform", length=LONG), LONG),
}  # fmt: skip


def speeds(lm: LM, draft: Path, images: int) -> dict[str, dict[str, Any]]:
    """Arm -> its speed over plain decoding with a 95 % bootstrap interval over images, the tokens of a forward, and what an image
    spent. One image at a time; the arms take turns, each image beginning with another arm.
    """
    drafters = {length: f"small_model:model={draft},length={length},worth=0" for _, length in ARMS.values()} | {0: "none"}
    engines = {name: Engine(lm, drafters[length], rule, "fixed:budget=16", slots=1) for name, (rule, length) in ARMS.items()}
    for engine in engines.values():
        engine.run(asked([0], seed=99))  # warm
    took: dict[str, list[float]] = {name: [] for name in engines}
    out: dict[str, list[Any]] = {name: [] for name in engines}
    for i, request in enumerate(asked([i % 10 for i in range(images)], seed=7)):
        for name in np.roll(list(engines), i):
            start = time.perf_counter()
            out[name] += engines[name].run([request])
            took[name].append(time.perf_counter() - start)
    return {name: summed(out[name], took[name], took[PLAIN]) for name in engines}


def summed(out: list[Any], took: list[float], plain: list[float]) -> dict[str, Any]:
    """One arm's figures."""
    tokens, stats = [g.stats.new_tokens for g in out], [g.stats for g in out]
    ours, theirs, rounds = (np.array([each, tokens], dtype=float).T for each in (took, plain, [s.rounds for s in stats]))
    return {"acceptance_length": sum(tokens) / sum(s.rounds for s in stats), "spent": sum(s.spent for s in stats) / len(out),
            **ratio(ours, theirs, rounds)}
