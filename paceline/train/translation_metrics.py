"""How good translations are: BLEU and chrF with bootstrap intervals by sacrebleu, and how much they repeat themselves."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from typing import Any

from paceline.data.parallel import Pairs
from paceline.errors import DataError, ModelError
from paceline.models.translation.translator import Asked, Translator

__all__ = ["can_score", "measured", "repetition", "scored", "told"]

SHOWN = 5  # translations that stand beside the figures


def can_score() -> bool:
    """Whether sacrebleu is there."""
    return importlib.util.find_spec("sacrebleu") is not None


def scored(texts: Sequence[str], references: Sequence[str], samples: int = 1000) -> dict[str, float]:
    """BLEU and chrF of all texts, 0 to 100, and half the width of their 95 % intervals over resampled sentences (Koehn 2004).

    Raises ModelError where sacrebleu is missing, DataError for unequal numbers.
    """
    if len(texts) != len(references):
        raise DataError(f"Expected a reference for each translation, found {len(texts)} and {len(references)}.")
    try:
        from sacrebleu.metrics import BLEU, CHRF
    except ImportError as error:
        raise ModelError("BLEU and chrF need sacrebleu: pip install 'paceline[translate]'.") from error
    found: dict[str, float] = {}
    for name, metric in (("bleu", BLEU()), ("chrf", CHRF())):
        score = metric.corpus_score(list(texts), [list(references)], n_bootstrap=samples)
        found[name] = round(float(score.score), 2)
        found[f"{name}_interval"] = round(float(score._ci), 2)  # sacrebleu has no other name for it
    return found


def repetition(sentences: Sequence[Sequence[int]]) -> float:
    """The share of tokens that are equal to the one before them."""
    same = sum(a == b for some in sentences for a, b in zip(some, some[1:], strict=False))
    return same / max(1, sum(len(some) for some in sentences))


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
