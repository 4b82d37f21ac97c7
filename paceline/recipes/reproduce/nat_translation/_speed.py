"""How fast one pass is beside its teacher, which writes token by token with a cache, and the teacher where one pass drafts.

Whole translations are timed, text to text.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from paceline.bench.machine import describe
from paceline.bench.metrics import ratio
from paceline.drafters.nat import Nat
from paceline.engine.translating import Drafted
from paceline.models.translation.translator import Asked, Translated, Translator
from paceline.recipes.reproduce.nat_translation._written import BEAM, TEACHER, one_pass_ways

__all__ = ["AGAINST", "DRAFTED", "drafted", "speed"]

TEXTS = {1: 64, 32: 256}  # sentences at once, and how many of them in all
GREEDY, ENGINE = "greedy", "greedy, by the engine"
AGAINST, DRAFTED = (GREEDY, BEAM), (GREEDY, ENGINE)
Arms = Mapping[str, Callable[[list[str]], list[Translated]]]


def speed(teacher: Translator, nat: Translator, texts: Sequence[str], repeats: int) -> dict[str, Any]:
    """By how many sentences are translated at once: each way's rates, and how many times those of the teacher's ways they are."""
    arms: Arms = {**{way: partial(teacher.translate, asked=asked) for way, asked in TEACHER.items()},
                  **{way: partial(nat.translate, asked=asked) for way, asked in one_pass_ways(teacher).items()}}
    return {"machine": describe(), "repeats": repeats,
            "sizes": {str(size): rates(arms, batched(texts[:count], size), repeats, AGAINST)[0] for size, count in TEXTS.items()}}


def drafted(teacher: Translator, nats: Mapping[str, Translator], texts: Sequence[str], repeats: int) -> dict[str, Any]:
    """The same for the teacher's greedy text, drafted by each one-pass model; with the tokens of a round, and the share of
    translations that are the very ones of the plain teacher.
    """
    writers = {ENGINE: Drafted(teacher, "none")}
    for (name, nat), again in product(nats.items(), (True, False)):
        writers[f"{name}, {'written again' if again else 'lined up'}"] = Drafted(teacher, Nat(nat, again))
    arms: Arms = {GREEDY: partial(teacher.translate, asked=Asked(1)),
                  **{name: partial(teacher.translate, asked=Asked(1), write=writer) for name, writer in writers.items()}}
    sizes = dict[str, Any]()
    for size, count in TEXTS.items():
        sizes[str(size)], wrote = rates(arms, batched(texts[:count], size), repeats, DRAFTED)
        for name, writer in writers.items():
            same = float(np.mean([a == b for a, b in zip(wrote[GREEDY], wrote[name], strict=True)]))
            sizes[str(size)][name] |= {"acceptance_length": writer.acceptance_length, "identical": same}
            writer.made.clear()
    return {"machine": describe(), "repeats": repeats, "sizes": sizes}


def batched(texts: Sequence[str], size: int) -> list[list[str]]:
    """Those of about one length together, as a file is translated."""
    order = sorted(texts, key=lambda text: len(text.split()))
    return [order[i : i + size] for i in range(0, len(order), size)]


def rates(arms: Arms, batches: list[list[str]], repeats: int, against: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Each arm's rates, and the tokens of each of its translations. Ratios are of sums over batches, with 95 % bootstrap
    intervals over these.
    """
    seconds, wrote = timed(arms, batches, repeats)
    sentences = np.tile([len(batch) for batch in batches], (len(arms), 1))
    tokens = np.array([[sum(map(len, batch)) for batch in each] for each in wrote])
    told: dict[str, dict[str, Any]] = {}
    for i, way in enumerate(arms):
        told[way] = {"sentences": sentences[i].sum() / seconds[i].sum(), "tokens": tokens[i].sum() / seconds[i].sum()}
        for other, (unit, counts) in product(against, (("sentences", sentences), ("tokens", tokens))):
            ours, theirs = (np.stack([seconds[j], counts[j]], 1) for j in (i, list(arms).index(other)))
            told[way][f"{unit} over {other}"] = ratio(ours, theirs)
    return told, {way: sum(each, []) for way, each in zip(arms, wrote, strict=True)}


def timed(arms: Arms, batches: list[list[str]], repeats: int) -> tuple[np.ndarray, list[list[list[list[int]]]]]:
    """Seconds of every batch, the median of the repeats, [arms, batches], and its translations' tokens. Arms take turns at each
    batch, forwards and backwards, so that what else the machine does hits all alike; the first turn warms up and does not count.
    """
    seconds = np.zeros((repeats + 1, len(arms), len(batches)))
    wrote: list[list[list[list[int]]]] = [[[] for _ in batches] for _ in arms]
    for turn, (j, batch) in product(range(repeats + 1), enumerate(batches)):
        for i, translate in list(enumerate(arms.values()))[:: -1 if turn % 2 else 1]:
            began = time.perf_counter()
            out = translate(batch)
            seconds[turn, i, j] = time.perf_counter() - began
            wrote[i][j] = [one.tokens for one in out]
    return np.median(seconds[1:], 0), wrote
