"""A translation model with its subwords: texts in, texts out, a folder that holds both."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError

from paceline.errors import ModelError, RequestError
from paceline.files import read_json
from paceline.lm.load import quiet
from paceline.models.translation.body import padded, real_tokens
from paceline.models.translation.direction import Direction
from paceline.models.translation.markov import Markov
from paceline.models.translation.mask_predict import collapsed, mask_predict
from paceline.models.translation.nat import Nat
from paceline.models.translation.rescore import token_scores
from paceline.models.translation.search import Candidate, beam, best_of, check_beam, greedy
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
    all. rerank: a translator that writes token by token, such as the teacher, and chooses among a `Nat`'s translations of all
    lengths (noisy parallel decoding, Gu et al. 2018, arXiv 1711.02281, section 4.2).

    Raises RequestError for a beam or iterations below 1, or an order below 0.
    """

    beam: int = 5
    iterations: int = 1
    collapse: bool = False
    order: int | None = None
    rerank: Translator | None = None

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

    def __init__(self, model: Nat | Markov, subwords: Subwords, direction: Direction | None = None) -> None:
        self.model, self.subwords, self.direction = model.eval(), subwords, direction

    @classmethod
    def load(cls, folder: str | Path) -> Translator:
        """Raises DataError where there is no model, ModelError for one of another kind or whose weights cannot be read."""
        settings = read_json(Path(folder) / "config.json")
        kind = next(iter(isinstance(settings, dict) and settings.get("architectures") or ["nothing"]))
        if kind not in KINDS:
            raise ModelError(f"Expected a translation model ({' or '.join(KINDS)}) in {folder}, found {kind}.")
        subwords = Subwords.load(Path(folder))
        try:
            with quiet():
                model: Any = KINDS[kind].from_pretrained(folder, dtype=torch.float32)
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            raise ModelError(f"The translator in {folder} cannot be read: {str(error).splitlines()[0]}") from error
        if len(subwords) > model.config.vocabulary:
            raise ModelError(f"The model in {folder} has {model.config.vocabulary} tokens, its subwords are {len(subwords)}: "
                             "they belong to another model.")
        return cls(model, subwords, Direction.load(Path(folder)))

    def save(self, folder: Path) -> None:
        with quiet():
            self.model.save_pretrained(folder)
        self.subwords.save(folder)
        if self.direction:
            self.direction.save(folder)

    def translate(self, texts: Sequence[str], asked: Asked = Asked(), write: Write | None = None) -> list[Translated]:  # noqa: B008
        """One translation for each text, empty for an empty one; texts that are too long are cut, and counted in the log, where
        it is said, too, if they read like the language that is translated into. write: who translates ids in place of the model
        itself, such as the engine (`engine/translating.py`).
        """
        ids, longest = [self.subwords.encode(text) if text.strip() else [] for text in texts], self.model.config.longest
        if cut := sum(len(some) > longest for some in ids):
            log.warning("%d texts were cut: the model reads %d tokens", cut, longest)
        if self.direction and self.direction.backwards(chain.from_iterable(ids)):
            log.warning(self.direction.complaint())
        found = dict[int, Candidate]()
        for rows in _together(ids):
            some = [ids[i][:longest] for i in rows]
            written = self._written(some, asked) if write is None else [[one] for one in write(some)]
            if asked.collapse:
                written = [[one._replace(tokens=collapsed(one.tokens)) for one in several] for several in written]
            if asked.rerank:
                written = [self._reranked(asked.rerank, texts[i], several) for i, several in zip(rows, written, strict=True)]
            found |= zip(rows, map(best_of, written), strict=True)
        return [self._told(text, found.get(i, Candidate([], 0.0))) for i, text in enumerate(texts)]

    def _written(self, ids: list[list[int]], asked: Asked) -> list[list[Candidate]]:
        """Of each sentence one translation or several."""
        source = padded(ids)
        if isinstance(self.model, Nat):
            if asked.order is not None:
                raise RequestError("A model that writes in one pass has no order; leave --order out.")
            return mask_predict(self.model, source, asked.beam, asked.iterations)
        if asked.rerank:
            raise RequestError("Only translations of a model that writes in one pass are reranked; leave --rerank out.")
        if asked.iterations != 1:
            raise RequestError("Only a model that writes in one pass looks at its translation again; leave --iterations out.")
        if asked.beam == 1:
            return [[one] for one in greedy(self.model, source, asked.order)]
        return [[one] for one in beam(self.model, source, asked.beam, order=asked.order)]

    def _reranked(self, judge: Translator, text: str, found: list[Candidate]) -> list[Candidate]:
        scores = judge.likelihoods(text, [self.subwords.decode(one.tokens, text) for one in found])
        return [one._replace(score=score) for one, score in zip(found, scores, strict=True)]

    @torch.no_grad()
    def likelihoods(self, text: str, translations: Sequence[str]) -> list[float]:
        """How likely a `Markov` finds translations of a text, wherever they come from: the mean log-probability of each one's
        tokens and its end, as beam search ranks. Raises ModelError for a model that writes in one pass.
        """
        if isinstance(self.model, Nat):
            raise ModelError("Expected a model that writes token by token to rerank by, found one that writes in one pass.")
        ids = [self.subwords.encode(text), *(self.subwords.encode(one, text) for one in translations)]
        source, target = ([some[: self.model.config.longest] for some in part] for part in (ids[:1], ids[1:]))
        read = self.model.read(padded(source)).pick(torch.zeros(len(target), dtype=torch.long, device="cpu"))
        scores = token_scores(self.model, read, padded(target))
        return (scores.sum(1) / (real_tokens(padded(target)).sum(1) + 1)).tolist()

    def _told(self, source: str, candidate: Candidate) -> Translated:
        return Translated(source, self.subwords.decode(candidate.tokens, source), *candidate)


def _together(ids: list[list[int]]) -> Iterator[list[int]]:
    """Numbers of the texts that are not empty, those of about one length together."""
    order = sorted((i for i, some in enumerate(ids) if some), key=lambda i: len(ids[i]))
    return (order[start : start + ROWS] for start in range(0, len(order), ROWS))
