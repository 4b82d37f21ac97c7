"""How good translations are: BLEU, chrF and phrase precision by sacrebleu, and how much they repeat themselves; with intervals
over resampled sentences, which are paired where two systems translate the same ones.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from paceline.data.parallel import Pairs
from paceline.errors import DataError, ModelError
from paceline.models.translation.translator import Asked, Translator

__all__ = ["can_score", "check_scoring", "interval", "measured", "quality", "repeated", "repetition", "resampled", "scored",
           "share", "told"]

DRAWS = 1000  # bootstrap samples
SHOWN = 5  # translations that stand beside the figures


def can_score() -> bool:
    """Whether sacrebleu is there."""
    return importlib.util.find_spec("sacrebleu") is not None


def check_scoring() -> None:
    """Raise ModelError where sacrebleu is missing."""
    if not can_score():
        raise ModelError("BLEU and chrF need sacrebleu: pip install 'paceline[translate]'.")


def resampled(parts: np.ndarray, figure: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """A figure of all sentences, followed by the same of 1000 samples of as many of them, drawn with replacement: [1 + 1000].

    parts: ``[N, S]``, what each sentence adds to the sums that the figure is made of; figure: sums ``[D, S]`` -> ``[D]``. Which
    sentences a sample holds depends on N alone: for two systems on the same sentences ``a - b`` is their difference by paired
    bootstrap, whose interval is the narrower the more alike they are (Koehn 2004, Statistical significance tests for machine
    translation evaluation, section 4).
    """
    count, lots = len(parts), np.random.default_rng(0)
    samples = (np.bincount(lots.integers(0, count, count), minlength=count) @ parts for _ in range(DRAWS))
    return np.asarray(figure(np.stack([parts.sum(0), *samples])), dtype=float)


def interval(samples: np.ndarray) -> dict[str, float]:
    """The figure of all sentences, as `resampled` gives it or as a difference of two, with its 95 % percentile interval."""
    low, high = np.quantile(samples[1:], [0.025, 0.975]).tolist()
    return {"value": float(samples[0]), "low": low, "high": high}


def share(sums: np.ndarray) -> np.ndarray:
    """The first of two sums ``[..., 2]`` in the second, 0 of nothing."""
    return sums[..., 0] / np.maximum(sums[..., 1], 1)


def quality(texts: Sequence[str], references: Sequence[str]) -> dict[str, np.ndarray]:
    """bleu, chrf, and precision_1 to precision_4, the shares of n-grams that the reference has, too (BLEU's sub-scores), all 0 to
    100 and as `resampled` gives them.

    Raises ModelError where sacrebleu is missing, DataError for unequal numbers.
    """
    if len(texts) != len(references):
        raise DataError(f"Expected a reference for each translation, found {len(texts)} and {len(references)}.")
    check_scoring()
    from sacrebleu.metrics import BLEU, CHRF

    found, parts = dict[str, np.ndarray](), dict[str, np.ndarray]()
    for name, metric in (("bleu", BLEU()), ("chrf", CHRF())):
        # What a sentence adds, sacrebleu gives in private only; by its public methods a single sample takes a second.
        parts[name] = np.array(metric._extract_corpus_statistics(list(texts), [list(references)]))
        found[name] = resampled(parts[name], partial(_scores, metric))
    # BLEU's parts are both lengths, then the n-grams that are right and those that were written, n = 1 to 4.
    return found | {f"precision_{n}": 100 * resampled(parts["bleu"][:, [1 + n, 5 + n]], share) for n in range(1, 5)}


def _scores(metric: Any, sums: np.ndarray) -> np.ndarray:
    return np.array([metric._compute_score_from_stats(row).score for row in sums.tolist()])


def scored(texts: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """BLEU and chrF of all texts, 0 to 100, and half the width of their 95 % intervals. Raises as `quality` does."""
    samples, found = quality(texts, references), dict[str, float]()
    for name in ("bleu", "chrf"):
        told = interval(samples[name])
        found |= {name: round(told["value"], 2), f"{name}_interval": round((told["high"] - told["low"]) / 2, 2)}
    return found


def repeated(sentences: Sequence[Sequence[int]]) -> np.ndarray:
    """Of each sentence, how many tokens are equal to the one before them, and how many there are: [N, 2]."""
    counts = [[sum(a == b for a, b in zip(some, some[1:], strict=False)), len(some)] for some in sentences]
    return np.array(counts, dtype=np.int64).reshape(-1, 2)


def repetition(sentences: Sequence[Sequence[int]]) -> float:
    """The share of tokens that are equal to the one before them."""
    return float(share(repeated(sentences).sum(0)))


def measured(translator: Translator, test: Pairs) -> dict[str, Any]:
    """Figures of a model on test texts, with a few of its translations."""
    found = translator.translate(test.source, Asked())
    figures: dict[str, Any] = {"repetition": round(repetition([one.tokens for one in found]), 4), "texts": len(found)}
    if can_score():
        figures |= scored([one.text for one in found], test.target)
    shown = zip(found[:SHOWN], test.target, strict=False)
    return figures | {"examples": [{"source": one.source, "translation": one.text, "reference": right} for one, right in shown]}


def told(name: str, figures: dict[str, Any]) -> str:
    """The figures and one translation in a line."""
    quality = f"BLEU {figures['bleu']} ± {figures['bleu_interval']}, chrF {figures['chrf']}, " if "bleu" in figures else ""
    first = figures["examples"][0]
    shown = f"{first['source']} -> {first['translation']} [{first['reference']}]"
    return f"{name}: {quality}repetition {figures['repetition']}; {shown}"
