"""Training a classifier: it learns, a killed run goes on, and it ends by itself with its best weights."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch

from paceline.data.labelled import Labelled
from paceline.errors import DataError
from paceline.models.exam.classifier import Classifier
from paceline.train import classifier as training
from paceline.train.classifier import Best, Lesson, fit, measured


def data(count: int, multi: bool = False, seed: int = 0) -> Labelled:
    """Noise words around a keyword that tells the label; of several labels, each has its own."""
    rng = random.Random(seed)
    texts, labels = [], []
    for _ in range(count):
        keys = rng.sample("xyz", rng.randint(1, 2) if multi else 1)
        words = [rng.choice("abcdefgh") for _ in range(4)] + keys
        rng.shuffle(words)
        texts.append(" ".join(words))
        labels.append(tuple(keys))
    return Labelled(texts, labels, multi)


def fresh(multi: bool = False, **settings: Any) -> Classifier:
    torch.manual_seed(0)
    shape = {"width": 16, "length": 6, "radius": 1, "dropout": 0.1, "buckets": 2, "class_bias": multi, **settings}
    return Classifier.made(data(100).texts, ["x", "y", "z"], multi=multi, **shape)


@pytest.mark.parametrize("multi", [False, True])
def test_it_learns(tmp_path: Path, multi: bool) -> None:
    held = fresh(multi, aggregator="max" if multi else "mlp")
    checks = fit(held, data(320, multi), data(60, multi, 1), Lesson(tmp_path, epochs=8, lr=5e-3))
    figures = measured(held, data(60, multi, 2))
    assert figures["macro_f1"] > 0.9 and max(checks.values()) > checks["0"]
    assert (held.model.config.thresholds is not None) == multi


class Killed(Exception):
    """Stands for kill -9."""


def test_a_killed_run_ends_with_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = data(64), data(30, seed=1)
    whole, broken = fresh(), fresh()
    seen = fit(whole, *texts, Lesson(tmp_path / "whole", epochs=3))
    steps, gradient = list[int](), training.gradient

    def fails(model: Any, batch: Any, seed: int) -> Any:
        steps.append(batch.step)
        if len(steps) == 6:
            raise Killed
        return gradient(model, batch, seed)

    monkeypatch.setattr(training, "gradient", fails)
    monkeypatch.setattr(training, "Loop", lambda *a, **k: loop(*a, **k, save_every_s=0.0))
    with pytest.raises(Killed):
        fit(broken, *texts, Lesson(tmp_path / "broken", epochs=3))
    again = fresh()  # what is in memory is lost
    assert fit(again, *texts, Lesson(tmp_path / "broken", epochs=3)) == seen and steps[6] == 5
    for a, b in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)


loop = training.Loop


def test_it_ends_when_nothing_is_gained_and_keeps_the_best(tmp_path: Path) -> None:
    model, figures = fresh().model, iter([0.1, 0.5, 0.4, 0.5])
    best = Best(model, tmp_path, lambda: next(figures), 2, (10, 99))
    answers = []
    for step in range(0, 31, 5):
        answers.append(best(step))
        with torch.no_grad():
            model.classes.fill_(float(step))
    assert answers == [False] * 6 + [True] and best.seen == {"0": 0.1, "10": 0.5, "20": 0.4, "30": 0.5}
    assert float(torch.load(tmp_path / "best.pt")["classes"].mean()) == 5.0  # as it stood at step 10


def test_labels_that_it_does_not_have(tmp_path: Path) -> None:
    strange = Labelled(["a", "b"], [("x",), ("w",)])
    with pytest.raises(DataError, match="label 'w', which the classifier was not trained for; it knows x, y, z"):
        measured(fresh(), strange)
    with pytest.raises(DataError, match=r"several labels \(x, y\), and the classifier gives one"):
        measured(fresh(), Labelled(["a"], [("x", "y")]))
