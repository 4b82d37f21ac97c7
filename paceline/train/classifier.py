"""Trains a classifier on labelled texts: batches by (seed, step) alone, early stop on texts held out, the best weights kept.

What is killed goes on from its newest checkpoint, and ends as an unbroken run would: dropout, too, is drawn by the step's number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import pad

from paceline.data.labelled import Labelled
from paceline.errors import DataError
from paceline.files import read_json, replace_json, replacing
from paceline.models.exam.classifier import Classifier
from paceline.models.exam.exam import Exam
from paceline.train.label_metrics import one_label, several_labels, tuned, with_thresholds
from paceline.train.loop import Loop, Progress, train

__all__ = ["Lesson", "fit", "measured", "targets_of"]

ENCODED = 1024  # texts at once


@dataclass(frozen=True)
class Lesson:
    """How to train: rows in a step, epochs at most, epochs without a gain before it ends, peak rate of Adam, seed, where
    checkpoints go, steps at most. The paper: 16, 20, by the validation set, 1e-4.
    """

    folder: Path
    rows: int = 16
    epochs: int = 20
    patience: int = 3
    lr: float = 3e-3
    seed: int = 0
    limit: int | None = None

    def steps(self, texts: int) -> tuple[int, int]:
        """In an epoch, and in all."""
        epoch = -(-texts // self.rows)
        return epoch, min(epoch * self.epochs, self.limit or epoch * self.epochs)


class Texts(NamedTuple):
    """A batch: ids and mask [B, n], targets as `Exam` takes them, and the step's number."""

    tokens: torch.Tensor
    mask: torch.Tensor
    targets: torch.Tensor
    step: int


def fit(classifier: Classifier, learned: Labelled, held: Labelled, lesson: Lesson,
        report: Callable[[Progress], None] = lambda progress: None) -> dict[str, float]:
    """Train it; returns step -> figure on `held` (accuracy, or the ranking's precision), 0 = untrained. It is left with its
    best weights, and with tuned thresholds where a text has several labels.

    Raises DataError for a label that the classifier does not have.
    """
    model, (ids, masks) = classifier.model, encoded(classifier, learned.texts)
    targets, truth = (targets_of(part, classifier.labels, model.config.multi) for part in (learned, held))
    epoch, steps = lesson.steps(len(learned.texts))

    def batch(step: int) -> Texts:
        start = step % epoch * lesson.rows
        rows = shuffled(len(ids), lesson.seed, step // epoch)[start : start + lesson.rows]
        mask = masks[rows]
        longest = int(mask.sum(1).max())
        return Texts(ids[rows, :longest], mask[:, :longest], targets[rows], step)

    def check() -> float:
        figures = figures_of(classifier, classifier.logits(held.texts), truth)
        return figures["precision" if model.config.multi else "accuracy"]

    best = Best(model, lesson.folder, check, lesson.patience, (epoch, steps))
    loop = Loop(lesson.folder, steps, matrix_lr=0.0, other_lr=lesson.lr, autocast=False)
    train(model, batch, lambda some, half: gradient(model, some, lesson.seed), loop, report=report, stop=best)
    model.load_state_dict(torch.load(lesson.folder / "best.pt", weights_only=True))
    if model.config.multi:
        chances = classifier.probabilities(classifier.logits(held.texts)).numpy()
        model.config.thresholds = [round(float(level), 4) for level in tuned(chances, truth.numpy())]
    return best.seen


class Best:
    """Asked after every step: measures at each epoch's end and at the last step, keeps the best weights, and says when there was
    no gain for long. due: steps in an epoch, and in all.
    """

    def __init__(self, model: Exam, folder: Path, check: Callable[[], float], patience: int, due: tuple[int, int]) -> None:
        self.model, self.folder, self.check, self.patience = model, folder, check, patience
        self.epoch, self.last = due
        self.file = folder / "checks.json"
        self.seen: dict[str, float] = read_json(self.file) if self.file.exists() else {}

    def __call__(self, step: int) -> bool:
        if (step % self.epoch == 0 or step == self.last) and str(step) not in self.seen:
            self._measure(step)
        known = [value for at, value in self.seen.items() if int(at) <= step]
        return len(known) - known.index(max(known)) > self.patience

    def _measure(self, step: int) -> None:
        figure = self.check()
        self.model.train()
        if figure > max(self.seen.values(), default=-1.0):
            self.folder.mkdir(parents=True, exist_ok=True)
            with replacing(self.folder / "best.pt") as fresh:
                torch.save(self.model.state_dict(), fresh)
        self.seen[str(step)] = figure
        replace_json(self.file, self.seen)


def gradient(model: Exam, batch: Texts, seed: int) -> tuple[dict[str, float], int]:
    """Add the gradient of a batch's loss; random numbers are those of the step."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed * 1_000_003 + batch.step)
        loss = model(batch.tokens, batch.mask, batch.targets).loss
    loss.backward()
    return {"loss": float(loss.detach()) * len(batch.tokens)}, len(batch.tokens)


@lru_cache(2)
def shuffled(count: int, seed: int, epoch: int) -> torch.Tensor:
    """An order of all texts; each epoch has its own."""
    return torch.from_numpy(np.random.default_rng((seed, epoch)).permutation(count))


def encoded(classifier: Classifier, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """ids and mask [N, n] of all texts; not where their words stand, which takes many times as much memory."""
    parts = [classifier.vocabulary.encode(texts[i : i + ENCODED], classifier.model.config)[:2]
             for i in range(0, len(texts), ENCODED)]
    longest = max(ids.shape[1] for ids, _ in parts)
    both = zip(*([pad(part, (0, longest - part.shape[1])) for part in some] for some in parts), strict=True)
    ids, mask = (torch.cat(some) for some in both)
    return ids, mask


def targets_of(data: Labelled, labels: Sequence[str], multi: bool) -> torch.Tensor:
    """Class numbers [N], or 0/1 [N, c] where texts may have several labels. Raises DataError for labels that a classifier with
    these cannot give.
    """
    numbers = {label: i for i, label in enumerate(labels)}
    if strange := next((label for some in data.labels for label in some if label not in numbers), None):
        raise DataError(f"Some texts have the label {strange!r}, which the classifier was not trained for; it knows "
                        f"{', '.join(labels[:8])}{' …' if len(labels) > 8 else ''}. Train with it, or leave those texts out.")
    if not multi:
        if several := next((some for some in data.labels if len(some) > 1), None):
            raise DataError(f"Some texts have several labels ({', '.join(several)}), and the classifier gives one.")
        return torch.tensor([numbers[some[0]] for some in data.labels])
    targets = torch.zeros(len(data.texts), len(labels))
    for row, some in enumerate(data.labels):
        targets[row, [numbers[label] for label in some]] = 1.0
    return targets


def figures_of(classifier: Classifier, logits: torch.Tensor, truth: torch.Tensor) -> dict[str, float]:
    """The figures of its kind of classification."""
    if not classifier.model.config.multi:
        return one_label(logits.numpy(), truth.numpy())
    chances, thresholds = classifier.probabilities(logits).numpy(), classifier.model.config.thresholds
    ranks = several_labels(chances, truth.numpy())
    return ranks if thresholds is None else ranks | with_thresholds(chances, truth.numpy(), np.array(thresholds))


def measured(classifier: Classifier, data: Labelled) -> dict[str, float]:
    """How good it is on these texts. Raises DataError for a label that it does not have."""
    truth = targets_of(data, classifier.labels, classifier.model.config.multi)
    return figures_of(classifier, classifier.logits(data.texts), truth)
