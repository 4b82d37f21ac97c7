"""How good a classifier's scores are, with one label a text or several: as EXAM's paper counts, and as everybody else does."""

from __future__ import annotations

import math

import numpy as np

__all__ = ["one_label", "several_labels", "tuned", "with_thresholds"]

DEPTH = 5  # ranked labels that count
GRID = np.linspace(0.02, 0.98, 49)
FEW = 10  # texts with a label, below which its own threshold would be chance


def one_label(scores: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """accuracy and macro-F1 of scores [N, c] against class numbers [N]; macro: over the classes that occur in the truth."""
    guess = scores.argmax(1)
    of_class = [f1(guess == label, truth == label) for label in np.unique(truth)]
    return {"accuracy": float((guess == truth).mean()), "macro_f1": float(np.mean(of_class))}


def several_labels(scores: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Ranking figures of scores [N, c] against 0/1 [N, c]; ties go to the label that comes first.

    precision: the sum over pos = 1 … 5 of P@pos / ln(pos + 1), with P@pos the share of texts whose label at pos is right: at most
    4.254, where each has five labels. recall_at_5: labels found among the first five, of all. f1_printed: P R / (P + R) of these
    two, without the factor 2, which is what the paper's table holds (1.360 and .561 give .397). f1_at_5: the usual one, of the
    precision and recall of the first five. Source: arXiv 1811.09386, section 4.1.
    """
    order = np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH]
    right = np.take_along_axis(truth.astype(bool), order, 1)
    precision = sum(float(right[:, pos].mean()) / math.log(pos + 2) for pos in range(right.shape[1]))
    recall, found = float(right.sum() / max(1, truth.sum())), float(right.mean())
    return {"precision": precision, "recall_at_5": recall, "f1_printed": harmonic(precision, recall) / 2,
            "f1_at_5": harmonic(found, recall)}


def with_thresholds(chances: np.ndarray, truth: np.ndarray, thresholds: np.ndarray) -> dict[str, float]:
    """micro_f1 and macro_f1 of the labels above their thresholds [c]; macro: over the labels that occur in the truth."""
    guess, truth = chances >= thresholds, truth.astype(bool)
    occurs = truth.any(0)
    macro = np.mean([f1(guess[:, i], truth[:, i]) for i in np.flatnonzero(occurs)]) if occurs.any() else 0.0
    return {"micro_f1": f1(guess, truth), "macro_f1": float(macro)}


def tuned(chances: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The threshold [c] of each label that gives the best F1 on these texts; labels that are rare here share the common one."""
    truth = truth.astype(bool)
    common = max(GRID, key=lambda level: f1(chances >= level, truth))
    best = np.full(truth.shape[1], common)
    for i in np.flatnonzero(truth.sum(0) >= FEW):
        best[i] = max(GRID, key=lambda level: f1(chances[:, i] >= level, truth[:, i]))  # noqa: B023
    return best


def f1(guess: np.ndarray, truth: np.ndarray) -> float:
    return float(2 * (guess & truth).sum() / max(1, guess.sum() + truth.sum()))


def harmonic(a: float, b: float) -> float:
    return 2 * a * b / (a + b) if a + b else 0.0
