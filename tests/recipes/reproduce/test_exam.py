"""EXAM's reproduction runs through at its smallest; its arithmetic by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from paceline.errors import DataError, RequestError
from paceline.recipes.reproduce import exam
from paceline.recipes.reproduce.exam._keywords import KEYS, TASKS, keywords
from paceline.recipes.reproduce.exam._page import beside
from paceline.recipes.reproduce.exam._runs import each, without


def test_exam(tmp_path: Path) -> None:
    config = exam.Config(out=tmp_path / "out", work=tmp_path / "work", fast=True, seeds=2, epochs=1)
    page = exam.run(config)
    text, data = page.read_text(), json.loads(page.with_suffix(".json").read_text())
    assert "EXAM over it" in text and "residual" in text and page.with_suffix(".png").stat().st_size > 5000
    assert set(data["tasks"]) == {exam.NEWS, exam.TAGS} and set(data["keywords"]) == set(TASKS)
    assert {len(runs) for runs in data["tasks"][exam.NEWS]["runs"].values()} == {1, 2}  # the linear model has no seeds
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "work").iterdir() if file.name != "settings.json"}
    exam.run(config)
    assert all(file.stat().st_mtime_ns == time for file, time in before.items())  # what was done is not done again
    with pytest.raises(DataError, match="epochs = 1, not 3"):
        exam.run(exam.Config(out=tmp_path / "out", work=tmp_path / "work", fast=True, epochs=3))


def test_what_cannot_be_run() -> None:
    with pytest.raises(RequestError, match="at least 1"):
        exam.run(exam.Config(seeds=0))
    with pytest.raises(DataError, match="name a folder with --news"):
        exam.tasks(exam.Config(tags=None))


def test_keywords_and_their_halves() -> None:
    plain, placed = (keywords(task, 8, 200, 0) for task in TASKS)
    assert all(sum(word in KEYS for word in text.split()) == 1 for text in plain.texts + placed.texts)
    assert all(label in text.split() for text, (label,) in zip(plain.texts, plain.labels, strict=True))
    for text, (label,) in zip(placed.texts, placed.labels, strict=True):
        key, half = label.split()
        assert (text.split().index(key) >= 4) == (half == "late")


def test_a_lead_is_over_seeds_and_over_texts() -> None:
    a, b = [{"each": [1, 1, 0, 1]}, {"each": [1, 1, 1, 1]}], [{"each": [1, 0, 0, 1]}]
    seeds, texts = beside({"runs": {"x": a, "y": b}}, "y", "x")
    assert float(seeds) == pytest.approx(0.375) == float(texts)
    assert texts.half == pytest.approx(1.96 * np.std([0, 1, 0.5, 0], ddof=1) / 2)


def test_scores_of_texts() -> None:
    assert each(np.array([[2.0, 1.0], [0.0, 1.0]]), np.array([0, 0]), False).tolist() == [1, 0]
    [found] = each(np.array([[0.9, 0.1, 0.5]]), np.array([[1.0, 0.0, 1.0]]), True)
    assert found == pytest.approx(1 / np.log(2) + 1 / np.log(3))
    assert without("a bc d", [(2, 4), (0, 1)]) == "  d" and without("a", [(0, 1)]) == "."
