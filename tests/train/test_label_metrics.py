"""Figures of classification, by hand and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from paceline.train.label_metrics import one_label, several_labels, tuned, with_thresholds

RNG = np.random.default_rng(0)


def test_one_label_is_what_scikit_learn_says() -> None:
    scores, truth = RNG.normal(size=(60, 4)), RNG.integers(0, 4, 60)
    found = one_label(scores, truth)
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, scores.argmax(1)))
    assert found["macro_f1"] == pytest.approx(f1_score(truth, scores.argmax(1), average="macro"))


def test_a_perfect_ranking_of_five_labels() -> None:
    truth = np.tile([1, 1, 1, 1, 1, 0, 0], (3, 1))
    found = several_labels(truth.astype(float), truth)
    assert found["precision"] == pytest.approx(4.254, abs=5e-4) and found["recall_at_5"] == 1
    assert found["f1_printed"] == pytest.approx(found["precision"] / (found["precision"] + 1)) and found["f1_at_5"] == 1


def test_ranks_by_hand_with_ties_and_fewer_than_five_labels() -> None:
    scores, truth = np.array([[0.5, 0.5, 0.1], [0.2, 0.1, 0.9]]), np.array([[0, 1, 1], [1, 0, 0]])
    found = several_labels(scores, truth)  # the tie goes to the first label: wrong, right, right; then wrong, right, wrong
    assert found["precision"] == pytest.approx(0 / math.log(2) + 1 / math.log(3) + 0.5 / math.log(4))
    assert found["recall_at_5"] == 1


def test_thresholds_are_the_best_of_their_label() -> None:
    truth = RNG.random((400, 3)) < [0.5, 0.1, 0.3]
    chances = np.clip(np.array([0.6, 0.1, 0.3]) + 0.15 * (truth - 0.5) + 0.05 * RNG.normal(size=truth.shape), 0, 1)
    best = with_thresholds(chances, truth, tuned(chances, truth))
    assert best["micro_f1"] > with_thresholds(chances, truth, np.full(3, 0.5))["micro_f1"] + 0.2
    guess = chances >= tuned(chances, truth)
    assert best["macro_f1"] == pytest.approx(f1_score(truth, guess, average="macro"))
    assert best["micro_f1"] == pytest.approx(f1_score(truth, guess, average="micro"))


def test_a_rare_label_shares_the_common_threshold() -> None:
    truth = np.zeros((50, 2), dtype=bool)
    truth[:25, 0], truth[0, 1] = True, True
    chances = np.where(truth, 0.7, 0.2)
    chances[0, 1] = 0.9
    levels = tuned(chances, truth)
    assert levels[0] == levels[1]
