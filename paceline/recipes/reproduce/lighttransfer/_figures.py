"""Intervals of what the arms did: bootstrap over questions, or over texts for nats; arms are compared on the same ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from paceline.bench.long_tasks import ASKED_KINDS
from paceline.bench.metrics import figure
from paceline.recipes.reproduce.lighttransfer._arms import ARMS, FULL, OURS

__all__ = ["CONTROLS", "settings"]

CONTROLS = ("random", "ends", "reversed", "uniform", "streaming all", "threshold 0.9")
Texts = Sequence[dict[str, Any]]  # what was found of each


def settings(tasks: dict[str, Texts]) -> list[dict[str, Any]]:
    """Of each length and window: what each arm scores and loses against `full`, and ours against each control."""
    return [setting(int(tokens), recent, texts) for tokens, texts in tasks.items()
            for recent in dict.fromkeys(int(name.split("/")[0]) for name in texts[0]["nats"] if name != FULL)]


def setting(tokens: int, recent: int, texts: Texts) -> dict[str, Any]:
    """Scores in percent, and nats of the texts' ends."""
    names = {FULL: FULL} | {arm: f"{recent}/{arm}" for arm in ARMS}
    scores = {arm: np.array([100 * one for text in texts for one in text["scores"][name]]) for arm, name in names.items()}
    nats = {arm: np.array([text["nats"][name] for text in texts]) for arm, name in names.items()}
    cut = {arm: [layers for text in texts for layers in text["cut"][name]] for arm, name in names.items()}
    kinds = np.array([kind for text in texts for kind in text["kinds"]])

    def against(arm: str, other: str) -> dict[str, Any]:
        return {"points": over(scores[arm] - scores[other]), "nats": over(nats[arm] - nats[other])}

    return {
        "tokens": tokens, "recent": recent, "texts": len(texts), "questions": len(kinds), "full": over(scores[FULL]),
        "null": over(np.array([100 * one for text in texts for one in text["null"]])), "full nats": over(nats[FULL]),
        "arms": {arm: against(arm, FULL) | {
            "cut": float(np.mean([len(layers) for layers in cut[arm]])),
            "kinds": {kind: float(scores[arm][kinds == kind].mean()) for kind in ASKED_KINDS if kind in kinds}} for arm in names},
        "ours": {arm: against(OURS, arm) for arm in CONTROLS},
        "layers": {layer: count / len(kinds) for layer, count in sorted(Counter(i for each in cut[OURS] for i in each).items())},
    }  # fmt: skip


def over(values: np.ndarray) -> dict[str, Any]:
    """Their mean, with a 95 % bootstrap interval."""
    picks = np.random.default_rng(0).integers(0, len(values), (2000, len(values)))
    return figure(values.mean(), values[picks].mean(-1), len(values))
