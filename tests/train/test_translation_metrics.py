"""Figures of translations."""

from __future__ import annotations

import pytest

from paceline.errors import DataError
from paceline.train.translation_metrics import repetition, scored


def test_repetition() -> None:
    assert repetition([[1, 1, 2, 2], [3], []]) == 2 / 5 and repetition([]) == 0


def test_scores_have_intervals() -> None:
    pytest.importorskip("sacrebleu")
    right = [f"the {a} house is {b} and big" for a in "abcd" for b in "efgh"]
    assert scored(right, right, 20)["bleu"] == 100
    some = scored([text.replace("and big", "nor old") if i % 2 else text for i, text in enumerate(right)], right, 20)
    assert 20 < some["bleu"] < 90 and 0 < some["bleu_interval"] < 30 and 20 < some["chrf"] < 100
    with pytest.raises(DataError, match="a reference for each translation, found 1 and 2"):
        scored(["a"], ["a", "b"])
