"""From texts to the numbers a classifier reads, and back to the characters each number stands for.

Two vocabularies: `Words`, a list of whole words where unknown ones share hashed vectors, and `Pieces`, the tokenizer of a Hugging
Face encoder. Both know which characters a place stands for, so that evidence can be shown on the text.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from transformers import PreTrainedTokenizerFast

from paceline.errors import ModelError
from paceline.files import read_json, replace_json
from paceline.lm.load import load_tokenizer
from paceline.models.exam.config import ExamConfig
from paceline.models.exam.encoders import encoder_place

__all__ = ["Encoded", "Pieces", "Vocabulary", "Words"]

WORD = re.compile(r"\w+(?:['’]\w+)?|[^\w\s]")
FILE = "words.json"
Span = tuple[int, int]


class Encoded(NamedTuple):
    """ids and mask [B, n]; spans: of each text, from and to which character each place reaches; (0, 0) for marks."""

    ids: torch.Tensor
    mask: torch.Tensor
    spans: list[list[Span]]


class Vocabulary(Protocol):
    """`encode` cuts texts to the classifier's length, at the end that its settings name; `save` writes what `open` reads."""

    def encode(self, texts: Sequence[str], config: ExamConfig) -> Encoded: ...
    def save(self, folder: Path) -> None: ...


class Words:
    """Lower-cased words and signs: number 0 is padding, then the listed words, then `buckets` numbers for all others by hash."""

    def __init__(self, words: Sequence[str], buckets: int) -> None:
        self.words, self.buckets = list(words), buckets
        self.numbers = {word: i for i, word in enumerate(self.words, 1)}

    @classmethod
    def of(cls, texts: Iterable[str], most: int, buckets: int, least: int = 2) -> Words:
        """The words seen at least `least` times, the `most` frequent of them."""
        counts = Counter(word.lower() for text in texts for word in WORD.findall(text))
        return cls([word for word, seen in counts.most_common(most) if seen >= least], buckets)

    @classmethod
    def load(cls, folder: Path) -> Words:
        held = read_json(folder / FILE)
        return cls(held["words"], held["buckets"])

    def save(self, folder: Path) -> None:
        replace_json(folder / FILE, {"words": self.words, "buckets": self.buckets})

    def number(self, word: str) -> int:
        found = self.numbers.get(word)
        return found or 1 + len(self.words) + zlib.crc32(word.encode("utf-8", "surrogatepass")) % self.buckets

    def encode(self, texts: Sequence[str], config: ExamConfig) -> Encoded:
        found = [kept(list(WORD.finditer(text)), config) for text in texts]
        ids = [[self.number(match[0].lower()) for match in matches] for matches in found]
        return padded(ids, [[match.span() for match in matches] for matches in found])


class Pieces:
    """The tokenizer of a Hugging Face encoder; a piece's span is that of its whole word."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    @classmethod
    def of(cls, encoder: str) -> Pieces:
        """An encoder's own. Raises ModelError where there is none, or one that cannot tell where its pieces stand."""
        found = load_tokenizer(str(encoder_place(encoder)))
        if not found.is_fast:
            raise ModelError(f"The tokenizer of {encoder!r} does not tell where its pieces stand: it has no tokenizer.json.")
        return cls(found)

    @classmethod
    def load(cls, folder: Path) -> Pieces:
        """What `save` wrote."""
        return cls(PreTrainedTokenizerFast.from_pretrained(folder))

    def save(self, folder: Path) -> None:
        self.tokenizer.save_pretrained(folder)

    def encode(self, texts: Sequence[str], config: ExamConfig) -> Encoded:
        self.tokenizer.truncation_side = "left" if config.keep == "last" else "right"
        found = self.tokenizer(list(texts), truncation=True, max_length=config.length)
        spans = [[word_span(found, row, place) for place in range(len(ids))] for row, ids in enumerate(found["input_ids"])]
        return padded(found["input_ids"], spans)


def word_span(found: Any, row: int, place: int) -> Span:
    word = found.token_to_word(row, place)
    return (0, 0) if word is None else tuple(found.word_to_chars(row, word))


def kept(items: list[Any], config: ExamConfig) -> list[Any]:
    """As many as the classifier reads, from the end that it keeps."""
    return items[-config.length :] if config.keep == "last" else items[: config.length]


def padded(rows: Sequence[Sequence[int]], spans: list[list[Span]]) -> Encoded:
    """Rows as long as the longest one, zeros behind."""
    longest = max((len(row) for row in rows), default=0)
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], dtype=torch.long).reshape(len(rows), longest)
    return Encoded(ids, torch.arange(longest) < torch.tensor([len(row) for row in rows]).reshape(-1, 1), spans)
