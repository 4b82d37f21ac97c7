"""One arm, trained and measured: figures, a score for every text of the test set, and what its words are worth."""

from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch

from paceline.data.labelled import Labelled
from paceline.errors import ModelError
from paceline.models.exam.classifier import Classifier
from paceline.train.classifier import Lesson, fit, targets_of
from paceline.train.label_metrics import DEPTH, one_label, several_labels

__all__ = ["Trained", "each", "popular", "tfidf", "trained"]

DELETED, LOOKED_AT = 3, 200  # words taken out of a text, and of how many texts


@dataclass(frozen=True)
class Trained:
    """How an arm is made and trained; settings: those of `Classifier.made`."""

    settings: dict[str, Any]
    epochs: int
    rows: int
    rate: float


def trained(parts: Sequence[Labelled], ours: Trained, seed: int) -> dict[str, Any]:
    """Train on the first part, choose by the second, measure on the third."""
    learned, held, test = parts
    torch.manual_seed(seed)
    labels = sorted({name for part in parts for name in part.names})
    classifier = Classifier.made(learned.texts, labels, multi=learned.multi, **ours.settings)
    with tempfile.TemporaryDirectory() as folder:
        checks = fit(classifier, learned, held, Lesson(Path(folder), ours.rows, ours.epochs, lr=ours.rate, seed=seed))
    truth = targets_of(test, labels, test.multi).numpy()
    scores = classifier.logits(test.texts).numpy()
    count = sum(parameter.numel() for parameter in classifier.model.parameters())
    return {"checks": checks, **figures(scores, truth, test.multi), "deleted": deleted(classifier, test), "parameters": count}


def figures(scores: np.ndarray, truth: np.ndarray, multi: bool) -> dict[str, Any]:
    return {"figures": (several_labels if multi else one_label)(scores, truth),
            "each": each(scores, truth, multi).round(4).tolist()}


def each(scores: np.ndarray, truth: np.ndarray, multi: bool) -> np.ndarray:
    """What each text adds to the figure that arms are compared by, [N]: right or wrong, or its part of the precision."""
    if not multi:
        return (scores.argmax(1) == truth).astype(float)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH]
    right = np.take_along_axis(truth, order, 1)
    return right @ (1 / np.log(np.arange(right.shape[1]) + 2))


def deleted(classifier: Classifier, test: Labelled) -> dict[str, float]:
    """How much probability the likeliest label loses without the words that spoke loudest for it, and without as many random
    ones: whether the evidence is evidence.
    """
    rng, texts = Random(0), [text for text in test.texts if len(text.split()) > 2 * DELETED][:LOOKED_AT]
    if not texts:
        return {}
    told = [some[0] for some in classifier.explain(texts)]
    loud = [[(p.start, p.stop) for p in sorted(one.parts, key=lambda p: -p.weight)[:DELETED]] for one in told]
    chance = [[(p.start, p.stop) for p in rng.sample(one.parts, min(DELETED, len(one.parts)))] for one in told]
    falls = {}
    for name, spans in (("loudest", loud), ("random", chance)):
        cut = [without(text, some) for text, some in zip(texts, spans, strict=True)]
        rows = classifier.probabilities(classifier.logits(cut))
        after = [float(row[classifier.labels.index(one.label)]) for row, one in zip(rows, told, strict=True)]
        falls[name] = math.fsum(one.probability - p for one, p in zip(told, after, strict=True)) / len(texts)
    return falls


def without(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """The text without these stretches; something stays, so that it is a text."""
    for start, stop in sorted(spans, reverse=True):
        text = text[:start] + text[stop:]
    return text if text.strip() else "."


def popular(parts: Sequence[Labelled]) -> dict[str, Any]:
    """The null level: every text gets the labels that are most frequent in training, in that order."""
    learned, _, test = parts
    labels = sorted({name for part in parts for name in part.names})
    seen = Counter(name for some in learned.labels for name in some)
    scores = np.tile([float(seen[name]) for name in labels], (len(test.texts), 1))
    return figures(scores, targets_of(test, labels, test.multi).numpy(), test.multi)


def tfidf(parts: Sequence[Labelled]) -> dict[str, Any]:
    """Words and pairs of words, weighed by TF-IDF, and a logistic regression, its strength chosen on held-out texts."""
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.multiclass import OneVsRestClassifier
    except ImportError as error:
        raise ModelError("The linear model comes with scikit-learn: install paceline[images].") from error
    learned, held, test = parts
    labels = sorted({name for part in parts for name in part.names})
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=1)
    x, *others = words.fit_transform(learned.texts), words.transform(held.texts), words.transform(test.texts)
    y, *truths = (targets_of(part, labels, learned.multi).numpy() for part in parts)
    best: tuple[float, dict[str, Any]] | None = None
    for strength in (1.0, 10.0, 100.0):
        plain = LogisticRegression(C=strength, max_iter=300, solver="liblinear" if learned.multi else "lbfgs")
        model = (OneVsRestClassifier(plain) if learned.multi else plain).fit(x, y)
        scores = [spread(model.predict_proba(other), model.classes_, len(labels)) for other in others]
        chosen = float(each(scores[0], truths[0], learned.multi).mean())
        if best is None or chosen > best[0]:
            best = chosen, figures(scores[1], truths[1], learned.multi)
    assert best is not None
    return best[1]


def spread(chances: np.ndarray, classes: np.ndarray, count: int) -> np.ndarray:
    """Probabilities [N, c], zero for classes that the model never saw."""
    whole = np.zeros((len(chances), count))
    whole[:, np.asarray(classes, dtype=int)] = chances
    return whole
