"""Translators of real texts: one for all orders and the usual one; what they write at each order, and how good it is."""

from __future__ import annotations

from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from paceline.data.parallel import Pairs, read_pairs
from paceline.models.translation.translator import Asked, Translator
from paceline.recipes import train_translate
from paceline.recipes.reproduce._record import once
from paceline.train.checkpoint import claim_folder
from paceline.train.translation_metrics import interval, quality, repeated, resampled, share

__all__ = ["FULL", "ORDERS", "USUAL", "compared", "judged"]

ORDERS = (1, 2, 3, 4, 6, 8, 0)
FULL, USUAL = "0", "usual"  # the same model when it sees all tokens before; the autoregressive one with hidden states as keys
KINDS: dict[str, dict[str, Any]] = {"markov": {"model": "markov", "order": 6, "orders": ORDERS}, "ar": {"model": "ar"}}
BOUND = 0.5  # BLEU within which two systems count as equal
HIGH, LOW = "8", "4"  # the orders that are compared by length of the source
BUCKETS = 4

Written = dict[str, dict[str, Any]]


def compared(shared: dict[str, Any], work: Path, beam: int) -> dict[str, Any]:
    """Train what is not in `work`, translate what was not translated, and judge it. shared: options of `train translate` for both
    models, the four files among them. Raises DataError where `work` was begun with others.
    """
    claim_folder(work, {key: str(value) for key, value in shared.items()})
    test = read_pairs(shared["test_src"], shared["test_tgt"])

    @cache
    def model(kind: str) -> Translator:
        return translator(work / kind, shared | KINDS[kind])

    def write(kind: str, order: int | None) -> dict[str, Any]:
        found = model(kind).translate(test.source, Asked(beam, order=order))
        return {"texts": [one.text for one in found], "tokens": [one.tokens for one in found]}

    asked: dict[str, tuple[str, int | None]] = {str(order): ("markov", order) for order in ORDERS} | {USUAL: ("ar", None)}
    written = {name: once(work / f"written-{name}-{beam}.json", partial(write, *who)) for name, who in asked.items()}
    return {"beam": beam, **judged(written, test)}


def translator(out: Path, options: dict[str, Any]) -> Translator:
    """What lies there, or is trained now."""
    if not out.exists():
        train_translate.run(train_translate.Config(out=out, **options))
    return Translator.load(out)


def judged(written: Written, test: Pairs) -> dict[str, Any]:
    """Of each order, and of the usual decoder: BLEU, how far it is from both full models by paired bootstrap, repeated tokens,
    and length over the reference's in words; all with 95 % intervals over sentences, stricter than two one-sided tests at 5 %.
    """
    bleu = {name: quality(of["texts"], test.target)["bleu"] for name, of in written.items()}
    systems = {name: {"bleu": interval(bleu[name]), **{f"less_{full}": beside(bleu[name] - bleu[full]) for full in (FULL, USUAL)},
                      "repetition": interval(100 * resampled(repeated(of["tokens"]), share)),
                      "length": interval(resampled(np.column_stack([words(of["texts"]), words(test.target)]), share))}
               for name, of in written.items()}  # fmt: skip
    full = written[FULL]
    return {"texts": len(test), "systems": systems, "by_length": by_length(written, test),
            "tokens_a_word": sum(map(len, full["tokens"])) / max(1, words(full["texts"]).sum())}


def beside(difference: np.ndarray) -> dict[str, Any]:
    found = interval(difference)
    return found | {"equal": max(-found["low"], found["high"]) <= BOUND}


def words(texts: list[str]) -> np.ndarray:
    return np.array([len(text.split()) for text in texts])


def by_length(written: Written, test: Pairs) -> dict[str, Any]:
    """What the higher order gains over the lower in quarters of the sentences by the source's words, and by how much more in the
    longest than in the shortest, whose samples have nothing to do with each other.
    """
    lengths = words(test.source)
    group = np.searchsorted(np.quantile(lengths, np.arange(1, BUCKETS) / BUCKETS), lengths)
    gains, buckets = [], []
    for rows in (np.flatnonzero(group == bucket) for bucket in np.unique(group)):
        high, low = (quality([written[name]["texts"][i] for i in rows], [test.target[i] for i in rows])["bleu"]
                     for name in (HIGH, LOW))
        gains.append(high - low)
        buckets.append({"words": [int(lengths[rows].min()), int(lengths[rows].max())], "texts": len(rows), "low": interval(low),
                        "gain": interval(high - low)})
    return {"buckets": buckets, "longest_less_shortest": interval(gains[-1] - gains[0])}
