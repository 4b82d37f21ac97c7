"""Figures of translations, and their intervals."""

from __future__ import annotations

import numpy as np
import pytest

from paceline.errors import DataError
from paceline.train.translation_metrics import interval, quality, repeated, repetition, resampled, scored, share

RIGHT = [f"the {a} house is {b} and big" for a in "abcd" for b in "efgh"]


def test_repetition() -> None:
    assert repeated([[1, 1, 2, 2], [3], []]).tolist() == [[2, 4], [0, 1], [0, 0]]
    assert repetition([[1, 1, 2, 2], [3], []]) == 2 / 5 and repetition([]) == 0


def test_scores_have_intervals() -> None:
    pytest.importorskip("sacrebleu")
    assert scored(RIGHT, RIGHT)["bleu"] == 100
    some = scored([text.replace("and big", "nor old") if i % 2 else text for i, text in enumerate(RIGHT)], RIGHT)
    assert 20 < some["bleu"] < 90 and 0 < some["bleu_interval"] < 30 and 20 < some["chrf"] < 100
    with pytest.raises(DataError, match="a reference for each translation, found 1 and 2"):
        scored(["a"], ["a", "b"])


def test_the_figures_are_those_of_sacrebleu() -> None:
    metrics = pytest.importorskip("sacrebleu.metrics")
    wrong = [text.replace("house is", "is house") if i % 3 else text + " and big" for i, text in enumerate(RIGHT)]
    found = quality(wrong, RIGHT)
    bleu, chrf = (metric.corpus_score(wrong, [RIGHT]) for metric in (metrics.BLEU(), metrics.CHRF()))
    assert found["bleu"][0] == pytest.approx(bleu.score) and found["chrf"][0] == pytest.approx(chrf.score)
    assert [found[f"precision_{n}"][0] for n in range(1, 5)] == pytest.approx(bleu.precisions)
    picked = np.random.default_rng(0).integers(0, len(RIGHT), (1, len(RIGHT)))[0]
    again = metrics.BLEU().corpus_score([wrong[i] for i in picked], [[RIGHT[i] for i in picked]])
    assert found["bleu"][1] == pytest.approx(again.score)


def test_a_difference_is_paired() -> None:
    rng = np.random.default_rng(1)
    hard = rng.integers(0, 20, 400)  # how many of its 20 tokens a sentence lets anyone have right
    parts = [np.stack([hard + better, np.full(400, 20)], 1) for better in (0, 1)]
    one, other = (resampled(each, share) for each in parts)
    gain, own = interval(other - one), interval(one)
    assert gain == pytest.approx({"value": 0.05, "low": 0.05, "high": 0.05}) and own["high"] - own["low"] > 0.05
    assert own["low"] < own["value"] < own["high"]
