"""A classifier as people use it: texts in, labels out, and the words that made a text get its label."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError

from paceline.errors import DataError, ModelError, RequestError
from paceline.files import read_json
from paceline.lm.load import quiet
from paceline.models.exam.config import OWN_ENCODERS, ExamConfig
from paceline.models.exam.encoders import weights_of
from paceline.models.exam.exam import Exam
from paceline.models.exam.words import Pieces, Vocabulary, Words

__all__ = ["Classifier", "Explained", "Guess", "Part"]

ROWS = 64


class Guess(NamedTuple):
    """A label and its probability: among all labels, or, where a text may have several, of this one alone."""

    label: str
    probability: float


class Part(NamedTuple):
    """Characters start … stop of a text, and what they gave to a label's logit."""

    start: int
    stop: int
    weight: float


@dataclass(frozen=True)
class Explained:
    """Why a text has a label: its parts' weights and `rest` (biases and marks that are no word) add up to `logit`.

    With one label a text, all three are told beyond the mean of all labels, since softmax looks at differences alone.
    """

    text: str
    label: str
    probability: float
    logit: float
    parts: tuple[Part, ...]
    rest: float


class Classifier:
    """A model and its vocabulary, `Classifier.load(folder)` or `Classifier.made(…)`."""

    def __init__(self, model: Exam, vocabulary: Vocabulary) -> None:
        self.model, self.vocabulary = model, vocabulary

    @classmethod
    def made(cls, texts: Sequence[str], labels: Sequence[str], encoder: str = "region", words: int = 30_000,
             multi: bool = False, **settings: Any) -> Classifier:
        """A fresh one. texts: where its words are counted. encoder: region, gru, minilm, a folder or a hub id. settings: any of
        `ExamConfig`. Raises DataError for fewer than two labels, ModelError for an encoder that cannot be had, RequestError for
        settings that make no model.
        """
        if len(set(labels)) < 2:
            raise DataError(f"A classifier tells at least two labels apart; found {', '.join(labels) or 'none'}.")
        settings |= {"id2label": dict(enumerate(labels)), "label2id": {label: i for i, label in enumerate(labels)},
                     "problem_type": f"{'multi' if multi else 'single'}_label_classification"}
        if encoder in OWN_ENCODERS:
            own = Words.of(texts, words, settings.get("buckets", ExamConfig.buckets))
            return cls(Exam(ExamConfig(encoder=encoder, words=len(own.words), **settings)), own)
        body, pieces = weights_of(encoder), Pieces.of(encoder)
        most, length = getattr(body.config, "max_position_embeddings", None), settings.get("length", ExamConfig.length)
        if most is not None and length > most:
            raise RequestError(f"The encoder {encoder!r} reads {most} tokens at most; found a length of {length}.")
        model = Exam(ExamConfig(encoder="pretrained", pretrained=body.config.to_dict(), **settings))
        model.encoder.get_submodule("body").load_state_dict(body.state_dict())
        return cls(model, pieces)

    @classmethod
    def load(cls, folder: Path | str) -> Classifier:
        """What `save` wrote. Raises ModelError for a folder of anything else."""
        folder = Path(folder)
        try:
            kind = read_json(folder / "config.json").get("model_type")
        except (DataError, AttributeError):
            kind = None
        if kind != ExamConfig.model_type:
            found = f"a model of the kind {kind!r}" if kind else "no config.json"
            raise ModelError(f"There is no classifier in {folder} ({found}): make one with paceline train classify.")
        try:
            with quiet():
                model = Exam.from_pretrained(folder).eval()
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise ModelError(f"The classifier in {folder} cannot be read: {str(error).splitlines()[0]}") from error
        return cls(model, (Pieces if model.config.encoder == "pretrained" else Words).load(folder))

    def save(self, folder: Path) -> None:
        """Write config.json, model.safetensors and the vocabulary."""
        with quiet():
            self.model.save_pretrained(folder)
        self.vocabulary.save(folder)

    @property
    def labels(self) -> list[str]:
        return self.model.config.labels

    def batches(self, texts: Sequence[str]) -> Iterator[tuple[torch.Tensor, torch.Tensor, list[list[tuple[int, int]]]]]:
        """ids, mask and spans of so many texts at a time. Raises DataError for a text without words."""
        for start in range(0, len(texts), ROWS):
            some = texts[start : start + ROWS]
            for number, text in enumerate(some, start + 1):
                if not text.strip():
                    raise DataError(f"Text {number} of {len(texts)} is empty: there is nothing to classify in it.")
            yield self.vocabulary.encode(some, self.model.config)

    @torch.inference_mode()
    def logits(self, texts: Sequence[str]) -> torch.Tensor:
        """[N, c], in the order of `labels`. Raises DataError for a text without words."""
        self.model.eval()
        return torch.cat([self.model(ids, mask).logits for ids, mask, _ in self.batches(texts)])

    def probabilities(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.sigmoid() if self.model.config.multi else logits.softmax(-1)

    def classify(self, texts: Sequence[str]) -> list[list[Guess]]:
        """All labels of each text, the likeliest first."""
        rows = self.probabilities(self.logits(texts))
        ranks = rows.argsort(dim=-1, descending=True, stable=True)
        return [[Guess(self.labels[i], float(row[i])) for i in rank.tolist()] for row, rank in zip(rows, ranks, strict=True)]

    def chosen(self, guesses: Sequence[Guess]) -> list[Guess]:
        """The labels that a text gets: the likeliest, or, where it may have several, all above their thresholds (0.5 if none were
        tuned).
        """
        if not self.model.config.multi:
            return list(guesses[:1])
        least = dict(zip(self.labels, self.model.config.thresholds or [0.5] * len(self.labels), strict=True))
        return [guess for guess in guesses if guess.probability >= least[guess.label]]

    def explain(self, texts: Sequence[str], labels: int = 1) -> list[list[Explained]]:
        """Of each text the likeliest labels, so many, each with what every word gave to it."""
        self.model.eval()
        found, waiting = list[list[Explained]](), iter(texts)
        for ids, mask, spans in self.batches(texts):
            logits, parts, rest = self.model.evidence(ids, mask)
            chances = self.probabilities(logits)
            if not self.model.config.multi:  # what all labels have in common decides nothing between them
                logits, parts, rest = (some - some.mean(1, keepdim=True) for some in (logits, parts, rest))
            ranks = logits.argsort(dim=-1, descending=True, stable=True)[:, :labels].tolist()
            for row, best in enumerate(ranks):
                text, told = next(waiting), {i: merged(spans[row], parts[row, i].tolist()) for i in best}
                found.append([Explained(text, self.labels[i], float(chances[row, i]), float(logits[row, i]), words,
                                        float(rest[row, i]) + marks) for i, (words, marks) in told.items()])
        return found

    def name_labels(self) -> None:
        """Let every label begin as what its name means to the encoder: with a trained encoder a start without any example."""
        ids, mask, _ = self.vocabulary.encode([spoken(label) for label in self.labels], self.model.config)
        self.model.eval().classes.data = self.model.meanings(ids, mask)

    def add_label(self, name: str, like: Sequence[str] = ()) -> None:
        """One more label without training, from texts that have it, or from its name alone. All other logits stay as they are."""
        ids, mask, _ = self.vocabulary.encode(list(like) or [spoken(name)], self.model.config)
        self.model.eval().add_label(name, self.model.meanings(ids, mask).mean(0))


def spoken(label: str) -> str:
    """A label's name as words: `game::strategy` reads "game strategy"."""
    return " ".join(re.split(r"[\W_]+", label)).strip() or label


def merged(spans: Sequence[tuple[int, int]], weights: Sequence[float]) -> tuple[tuple[Part, ...], float]:
    """One part for each word, pieces of it together; and what marks that are no word gave."""
    parts, marks = dict[tuple[int, int], float](), 0.0
    for span, weight in zip(spans, weights, strict=False):
        if span == (0, 0):
            marks += weight
        else:
            parts[span] = parts.get(span, 0.0) + weight
    return tuple(Part(*span, weight) for span, weight in parts.items()), marks
