"""Joint subwords of both languages (byte-level BPE), in which placeholders such as %s, %d and {name} are single tokens."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from paceline.errors import DataError
from paceline.files import HALF

__all__ = ["Subwords"]

MARKS = ["<pad>", "<bos>", "<eos>", "<mask>"]  # in the order of `config`'s ids
SLOTS = [f"<slot{i}>" for i in range(10)]
PRINTF = r"(?<!%)%(?:\(\w+\)|\d+\$)?[-+#0']*(?:\d+|\*)?(?:\.(?:\d+|\*))?(?:hh|h|ll|l|z|j|t|L)?[diouxXeEfFgGcsp]"
PLACEHOLDER = re.compile(PRINTF + r"|\{[\w.:!]*\}")
FILE = "tokenizer.json"


class Subwords:
    """Text to ids and back.

    The placeholders of a source are numbered, and the same ones in its target have the same numbers: a model learns to move ten
    tokens about, whatever they are called, and copies those that it has never seen. A text that spells a mark, such as <pad>, has
    the letters of it. The file is tokenizers' own.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.tokenizer.encode_special_tokens = True  # as letters
        ids = tokenizer.get_vocab()
        self._slots = [ids[slot] for slot in SLOTS]

    @classmethod
    def trained(cls, texts: Iterable[str], vocabulary: int) -> Subwords:
        """At most so many subwords, fitted to the texts of both languages; every byte has one."""
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        special = [AddedToken(mark, special=True) for mark in MARKS + SLOTS]
        trainer = trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=special, show_progress=False,
                                      initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
        tokenizer.train_from_iterator((" " + PLACEHOLDER.sub(" ", text) for text in texts), trainer)
        return cls(tokenizer)

    @classmethod
    def load(cls, folder: Path) -> Subwords:
        """From a model's folder. Raises DataError where it has none."""
        try:
            return cls(Tokenizer.from_file(str(folder / FILE)))
        except Exception as error:  # tokenizers raises nothing more exact
            raise DataError(f"Expected the subwords of a translation model in {folder / FILE} ({error}).") from error

    def save(self, folder: Path) -> None:
        self.tokenizer.save(str(folder / FILE))

    def __eq__(self, other: object) -> bool:
        """Whether ids mean the same."""
        return isinstance(other, Subwords) and self.tokenizer.to_str() == other.tokenizer.to_str()

    def __len__(self) -> int:
        return self.tokenizer.get_vocab_size()

    def encode(self, text: str, source: str | None = None) -> list[int]:
        """Ids without marks; white space counts as single spaces. source: what a text is the translation of, whose placeholders
        number it. Raises DataError for half a surrogate pair.
        """
        numbers = self._numbers(text if source is None else source)
        spaced, ids, read = " " + " ".join(text.split()), list[int](), 0  # a word is the same at the beginning and within
        for found in PLACEHOLDER.finditer(spaced):
            if found[0] in numbers:
                ids += [*self._plain(spaced[read : found.start()]), numbers[found[0]]]
                read = found.end()
        return ids + self._plain(spaced[read:])

    def _plain(self, text: str) -> list[int]:
        if half := HALF.search(text):
            raise DataError(f"Expected whole characters in a text, found half a surrogate pair, {ascii(half[0])}.")
        return self.tokenizer.encode(text).ids

    def decode(self, ids: list[int], source: str = "") -> str:
        """The text, with the source's placeholders; one that it does not have is left out."""
        held = {number: name for name, number in self._numbers(source).items()}
        text = ""
        for slotted, run in ((slotted, [*run]) for slotted, run in groupby(ids, key=self._slots.__contains__)):
            text += "".join(held.get(i, "") for i in run) if slotted else self.tokenizer.decode(run, skip_special_tokens=False)
        return text.strip()

    def _numbers(self, source: str) -> dict[str, int]:
        """The ids of a source's placeholders, of each once and in order."""
        return dict(zip(dict.fromkeys(found[0] for found in PLACEHOLDER.finditer(source)), self._slots, strict=False))

