"""A translation model with its subwords: texts in, texts out, a folder that holds both."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from paceline.errors import ModelError, RequestError
from paceline.files import read_json
from paceline.lm.load import quiet
from paceline.models.translation.body import padded
from paceline.models.translation.markov import Markov
from paceline.models.translation.mask_predict import collapsed, mask_predict
from paceline.models.translation.nat import Nat
from paceline.models.translation.search import Candidate, beam, check_beam, greedy
from paceline.models.translation.subwords import Subwords

__all__ = ["ROWS", "Asked", "Translated", "Translator", "Write"]

log = logging.getLogger("paceline")

KINDS = {"Nat": Nat, "Markov": Markov}
ROWS = 32  # sentences translated at once

Write = Callable[[list[list[int]]], list[Candidate]]


@dataclass(frozen=True)
class Asked:
    """How to translate. beam: lengths that a `Nat` tries, or translations that a `Markov` follows, 1 = greedy. iterations: of a
    `Nat`'s refinement. collapse: drop tokens equal to the one before. order: that a `Markov` looks back, in place of its own; 0 =
    all. Raises RequestError for a beam or iterations below 1, or an order below 0.
    """

    beam: int = 5
    iterations: int = 1
    collapse: bool = False
    order: int | None = None

    def __post_init__(self) -> None:
        check_beam(self.beam)
        if self.iterations < 1:
            raise RequestError(f"Expected at least 1 iteration, found {self.iterations}.")
        if self.order is not None and self.order < 0:
            raise RequestError(f"Expected an order of at least 0, found {self.order}.")


class Translated(NamedTuple):
    """A text's translation, its tokens and its score."""

    source: str
    text: str
    tokens: list[int]
    score: float


class Translator:
    """Opened from the folder that `paceline train translate` makes."""

    def __init__(self, model: Nat | Markov, subwords: Subwords) -> None:
        self.model, self.subwords = model.eval(), subwords

    @classmethod
    def load(cls, folder: str | Path) -> Translator:
        """Raises DataError where there is no model, ModelError for one of another kind."""
        settings = read_json(Path(folder) / "config.json")
        kind = next(iter(settings.get("architectures") or ["nothing"]))
        if kind not in KINDS:
            raise ModelError(f"Expected a translation model ({' or '.join(KINDS)}) in {folder}, found {kind}.")
        subwords = Subwords.load(Path(folder))
        with quiet():
            model: Any = KINDS[kind].from_pretrained(folder, dtype=torch.float32)
        if len(subwords) > model.config.vocabulary:
            raise ModelError(f"The model in {folder} has {model.config.vocabulary} tokens, its subwords are {len(subwords)}: "
                             "they belong to another model.")
        return cls(model, subwords)

    def save(self, folder: Path) -> None:
        with quiet():
            self.model.save_pretrained(folder)
        self.subwords.save(folder)

    def translate(self, texts: Sequence[str], asked: Asked = Asked(), write: Write | None = None) -> list[Translated]:  # noqa: B008
        """One translation for each text, empty for an empty one; texts that are too long are cut, and counted in the log. write:
        who translates ids in place of the model itself, such as the engine (`engine/translating.py`).
        """
        ids, longest = [self.subwords.encode(text) if text.strip() else [] for text in texts], self.model.config.longest
        if cut := sum(len(some) > longest for some in ids):
            log.warning("%d texts were cut: the model reads %d tokens", cut, longest)
        found = dict[int, Candidate]()
        for rows in _together(ids):
            some = [ids[i][:longest] for i in rows]
            found |= zip(rows, self._written(some, asked) if write is None else write(some), strict=True)
        return [self._told(text, found.get(i, Candidate([], 0.0)), asked) for i, text in enumerate(texts)]

    def _written(self, ids: list[list[int]], asked: Asked) -> list[Candidate]:
        source = padded(ids)
        if isinstance(self.model, Nat):
            if asked.order is not None:
                raise RequestError("A model that writes in one pass has no order; leave --order out.")
            return [some[0] for some in mask_predict(self.model, source, asked.beam, asked.iterations)]
        if asked.beam == 1:
            return greedy(self.model, source, asked.order)
        return beam(self.model, source, asked.beam, order=asked.order)

    def _told(self, source: str, candidate: Candidate, asked: Asked) -> Translated:
        tokens = collapsed(candidate.tokens) if asked.collapse else candidate.tokens
        return Translated(source, self.subwords.decode(tokens, source), tokens, candidate.score)


def _together(ids: list[list[int]]) -> Iterator[list[int]]:
    """Numbers of the texts that are not empty, those of about one length together."""
    order = sorted((i for i, some in enumerate(ids) if some), key=lambda i: len(ids[i]))
    return (order[start : start + ROWS] for start in range(0, len(order), ROWS))
