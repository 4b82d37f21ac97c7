"""Joint subwords of both languages (byte-level BPE), in which placeholders such as %s, %d and {name} are single tokens."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from paceline.errors import DataError

__all__ = ["Subwords"]

MARKS = ["<pad>", "<bos>", "<eos>", "<mask>"]  # in the order of `config`'s ids
SLOTS = [f"<slot{i}>" for i in range(10)]
PRINTF = r"(?<!%)%(?:\(\w+\)|\d+\$)?[-+#0']*(?:\d+|\*)?(?:\.(?:\d+|\*))?(?:hh|h|ll|l|z|j|t|L)?[diouxXeEfFgGcsp]"
PLACEHOLDER = re.compile(PRINTF + r"|\{[\w.:!]*\}")
FILE = "tokenizer.json"


class Subwords:
    """Text to ids and back.

    The placeholders of a source are numbered, and the same ones in its target have the same numbers: a model learns to move ten
    tokens about, whatever they are called, and copies those that it has never seen. The file is tokenizers' own.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer

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
        """Ids without marks. source: what a text is the translation of, by whose placeholders it is numbered."""
        numbers = {text: slot for slot, text in zip(SLOTS, placeholders(text if source is None else source), strict=False)}
        slotted = PLACEHOLDER.sub(lambda found: numbers.get(found[0], found[0]), text)
        return self.tokenizer.encode(" " + slotted).ids  # so that a word is the same at the beginning and within

    def decode(self, ids: list[int], source: str = "") -> str:
        """The text, with the source's placeholders; one that it does not have is left out."""
        held = dict(zip(SLOTS, placeholders(source), strict=False))
        text = self.tokenizer.decode(ids, skip_special_tokens=False)
        return re.sub(r"<slot\d>", lambda found: held.get(found[0], ""), text).strip()


def placeholders(text: str) -> list[str]:
    """Each once, in order."""
    return list(dict.fromkeys(found[0] for found in PLACEHOLDER.finditer(text)))

