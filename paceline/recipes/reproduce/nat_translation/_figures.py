"""Figures of what was written: each with an interval, and every step from model to model as a paired difference."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any

import numpy as np

from paceline.data.parallel import Pairs
from paceline.models.translation.translator import Translator
from paceline.recipes.reproduce.nat_translation._fluency import nats
from paceline.recipes.reproduce.nat_translation._written import BEAM, COLLAPSED, ONE_PASS, SURE
from paceline.train.translation_metrics import interval, quality, repeated, resampled, share

__all__ = ["CHANGES", "OTHERS", "REFERENCES", "SHUFFLED", "TEACHER", "figures"]

TEACHER, REFERENCES, SHUFFLED, OTHERS = "teacher", "references", "references, words shuffled", "references of other texts"
CHANGES = (("oaxe", "xe"), ("ngram_oaxe", "oaxe"), ("ngram_oaxe", "xe"), ("oaxe", TEACHER), ("ngram_oaxe", TEACHER))
SHOWN = 5  # examples

Written = Mapping[str, Mapping[str, dict[str, Any]]]  # model, way of writing -> what `written` gives
Samples = dict[str, np.ndarray]  # figure -> as `resampled` gives it


def figures(wrote: Written, test: Pairs, lm: Translator) -> dict[str, Any]:
    """measured: all figures of each model in one pass, of the teacher by beam search, and of three null levels. changes: for each
    kind of data, how much one model's figures are above another's. ways: BLEU and chrF of every way of writing.
    """
    main = {name: of_model(ways, test, lm) for name, ways in wrote.items()} | null_levels(test, lm)
    return {"measured": {name: told(samples) for name, samples in main.items()}, "changes": changes(main),
            "ways": {name: {way: both(one["texts"], test) for way, one in ways.items() if way != SURE}
                     for name, ways in wrote.items()},
            "examples": examples(wrote, test)}  # fmt: skip


def both(texts: list[str], test: Pairs) -> dict[str, dict[str, float]]:
    samples = quality(texts, test.target)
    return told({name: samples[name] for name in ("bleu", "chrf")})


def of_model(ways: Mapping[str, dict[str, Any]], test: Pairs, lm: Translator) -> Samples:
    one = usual(ways)
    found = of_texts(one["texts"], one["tokens"], test, lm)
    if SURE in ways:
        chances = np.array([[sure, len(some)] for sure, some in zip(ways[SURE]["chances"], ways[SURE]["tokens"], strict=True)])
        found["confidence"] = 100 * resampled(chances, share)
    if COLLAPSED in ways:
        found["collapsed"] = quality(ways[COLLAPSED]["texts"], test.target)["bleu"]
    return found


def usual(ways: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
    """The way of writing that a model is measured by."""
    return ways[BEAM] if BEAM in ways else ways[ONE_PASS]


def of_texts(texts: list[str], tokens: list[list[int]], test: Pairs, lm: Translator) -> Samples:
    """repetition: percent of the tokens that repeat the one before. nats: a token, by the language model."""
    return quality(texts, test.target) | {"repetition": 100 * resampled(repeated(tokens), share),
                                          "nats": resampled(nats(lm, texts, test.source), share)}


def null_levels(test: Pairs, lm: Translator) -> dict[str, Samples]:
    """The references as they are, with the right words in any order, and as fluent texts that translate something else."""
    rng, right = Random(0), test.target
    kinds = {REFERENCES: right, SHUFFLED: [" ".join(rng.sample(text.split(), len(text.split()))) for text in right],
             OTHERS: [*right[1:], right[0]]}
    return {name: of_texts(texts, [lm.subwords.encode(text) for text in texts], test, lm) for name, texts in kinds.items()}


def changes(main: dict[str, Samples]) -> dict[str, dict[str, dict[str, Any]]]:
    """Kind of data -> "one less another" -> figure; what is missing is left out."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for data in dict.fromkeys(name.split()[0] for name in main if name.endswith(" xe")):
        for pair in CHANGES:
            ours, theirs = (main.get(name if name == TEACHER else f"{data} {name}") for name in pair)
            if ours and theirs:
                less = {key: ours[key] - theirs[key] for key in ours if key in theirs}
                found.setdefault(data, {})[" less ".join(pair)] = told(less)
    return found


def told(samples: Samples) -> dict[str, dict[str, float]]:
    return {name: interval(some) for name, some in samples.items()}


def examples(wrote: Written, test: Pairs) -> list[dict[str, str]]:
    """The first texts, with every model's translation."""
    return [{"source": test.source[i], "reference": test.target[i],
             **{name: usual(ways)["texts"][i] for name, ways in wrote.items()}}
            for i in range(min(SHOWN, len(test)))]
