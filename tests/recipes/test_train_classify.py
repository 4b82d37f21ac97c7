"""`paceline train classify` from a file to a folder, and the words it says."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from paceline.errors import DataError, RequestError
from paceline.models.exam.classifier import Classifier
from paceline.models.exam.config import AS_CODE
from paceline.recipes.train_classify import Config, run


def table(path: Path, count: int = 200, labels: tuple[str, ...] = ("sports", "tea"), seed: int = 0) -> str:
    rng = random.Random(seed)
    keys = {"sports": "goal", "tea": "pot", "chess": "rook"}
    rows = [(rng.choice(labels), [rng.choice("abcdefgh") + str(i % 9) for i in range(5)]) for _ in range(count)]
    lines = [f"{' '.join([*noise, keys[label]])},{label}" for label, noise in rows]
    path.write_text("\n".join(["text,label", *lines]) + "\n")
    return str(path)


def config(tmp_path: Path, **options: object) -> Config:
    return Config(**{"data": table(tmp_path / "a.csv"), "out": tmp_path / "c", "width": 8, "epochs": 4, **options})  # type: ignore[arg-type]


def test_a_table_becomes_a_classifier(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run(config(tmp_path))
    figures = json.loads((folder / "training.json").read_text())
    assert figures["test"]["accuracy"] > 0.9 > figures["null"] + 0.2 and "the text from 'text'" in capsys.readouterr().err
    held = Classifier.load(folder)
    assert held.classify(["b1 c2 goal"])[0][0].label == "sports" and held.model.config.length == 8
    again = run(config(tmp_path))  # goes on from the end, to the same
    assert json.loads((again / "training.json").read_text()) == figures


def test_labels_that_changed(tmp_path: Path) -> None:
    other = table(tmp_path / "b.csv", 20, ("sports", "chess"))
    with pytest.raises(DataError, match="the label 'chess', which the classifier was not trained for; it knows sports, tea"):
        run(config(tmp_path, test=other))
    run(config(tmp_path, limit=2))
    table(tmp_path / "c.csv", 200, ("sports", "tea", "chess"))
    with pytest.raises(DataError, match="was begun with labels = sports, tea, not chess, sports, tea; use another folder"):
        run(config(tmp_path, data=str(tmp_path / "c.csv"), limit=2))
    with pytest.raises(RequestError, match="rows to be at least 1"):
        run(config(tmp_path, rows=0))
    with pytest.raises(RequestError, match="--as-code with --aggregator mlp, which is EXAM's, found mean"):
        run(config(tmp_path, as_code=True, aggregator="mean"))


def test_as_the_released_code_has_it(tmp_path: Path) -> None:
    made = Classifier.load(run(config(tmp_path, as_code=True, limit=1))).model.config
    assert {name: getattr(made, name) for name in AS_CODE} == AS_CODE
