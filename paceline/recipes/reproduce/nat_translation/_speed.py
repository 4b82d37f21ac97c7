"""How fast one pass is beside the teacher, which writes token by token with a cache: whole translations, text to text."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np

from paceline.bench.machine import describe
from paceline.bench.metrics import ratio
from paceline.models.translation.translator import Asked, Translator
from paceline.recipes.reproduce.nat_translation._written import BEAM, NAT, TEACHER

__all__ = ["AGAINST", "speed"]

TEXTS = {1: 64, 32: 256}  # sentences at once, and how many of them in all
AGAINST = ("greedy", BEAM)
Arms = dict[str, tuple[Translator, Asked]]


def speed(teacher: Translator, nat: Translator, texts: Sequence[str], repeats: int) -> dict[str, Any]:
    """By how many sentences are translated at once: each way's rates, and how many times those of the teacher's ways they are."""
    arms: Arms = {way: (teacher, asked) for way, asked in TEACHER.items()} | {way: (nat, asked) for way, asked in NAT.items()}
    return {"machine": describe(), "repeats": repeats,
            "sizes": {str(size): rates(arms, batched(texts[:count], size), repeats) for size, count in TEXTS.items()}}


def batched(texts: Sequence[str], size: int) -> list[list[str]]:
    """Those of about one length together, as a file is translated."""
    order = sorted(texts, key=lambda text: len(text.split()))
    return [order[i : i + size] for i in range(0, len(order), size)]


def rates(arms: Arms, batches: list[list[str]], repeats: int) -> dict[str, dict[str, Any]]:
    """Ratios are of sums over batches, with 95 % bootstrap intervals over these."""
    seconds, tokens = timed(arms, batches, repeats)
    sentences = np.tile([len(batch) for batch in batches], (len(arms), 1))
    told: dict[str, dict[str, Any]] = {}
    for i, way in enumerate(arms):
        told[way] = {"sentences": sentences[i].sum() / seconds[i].sum(), "tokens": tokens[i].sum() / seconds[i].sum()}
        for other, (unit, counts) in product(AGAINST, (("sentences", sentences), ("tokens", tokens))):
            ours, theirs = (np.stack([seconds[j], counts[j]], 1) for j in (i, list(arms).index(other)))
            told[way][f"{unit} over {other}"] = ratio(ours, theirs)
    return told


def timed(arms: Arms, batches: list[list[str]], repeats: int) -> tuple[np.ndarray, np.ndarray]:
    """Seconds, the median of the repeats, and tokens of every batch, [arms, batches]. Arms take turns at each batch, forwards
    and backwards, so that what else the machine does hits all alike; the first turn warms up and does not count.
    """
    seconds, tokens = np.zeros((repeats + 1, len(arms), len(batches))), np.zeros((len(arms), len(batches)))
    for turn, (j, batch) in product(range(repeats + 1), enumerate(batches)):
        for i, (held, asked) in list(enumerate(arms.values()))[:: -1 if turn % 2 else 1]:
            began = time.perf_counter()
            out = held.translate(batch, asked)
            seconds[turn, i, j] = time.perf_counter() - began
            tokens[i, j] = sum(len(one.tokens) for one in out)
    return np.median(seconds[1:], 0), tokens
