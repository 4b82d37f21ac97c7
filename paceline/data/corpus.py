"""A corpus as one long array of token ids: what training reads, made once from documents and kept on disk."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from transformers import PreTrainedTokenizerBase

from paceline.errors import DataError
from paceline.files import replacing

__all__ = ["Document", "Stream", "tokenise"]


@dataclass(frozen=True)
class Document:
    """A text as the model sees it, special tokens included; no loss falls on its first ``unlearned`` characters."""

    text: str
    unlearned: int = 0


@dataclass(frozen=True)
class Stream:
    """Documents end to end.

    ``tokens [N]`` uint16; ``starts [D + 1]`` where each document starts, and N; ``learn [N]`` False where the token is
    never a target; ``bytes``: length of the texts in UTF-8 without their begin and end marks, for bits per byte.
    """

    tokens: np.ndarray
    starts: np.ndarray
    learn: np.ndarray
    bytes: int

    @cached_property
    def first(self) -> np.ndarray:
        """``[N]`` True at the first token of a document."""
        marks = np.zeros(len(self.tokens) + 1, dtype=bool)
        marks[self.starts] = True
        return marks[:-1]

    def head(self, tokens: int) -> Stream:
        """The first documents, about ``tokens`` long together (at least one), with bytes in proportion."""
        count = max(1, int(np.searchsorted(self.starts, tokens, side="right")) - 1)
        stop = int(self.starts[count])
        share = stop / len(self.tokens)
        return Stream(self.tokens[:stop], self.starts[: count + 1], self.learn[:stop], round(self.bytes * share))

    def save(self, path: Path) -> None:
        """Write all arrays into one file, atomically."""
        with replacing(path) as fresh, open(fresh, "wb") as file:
            np.savez(file, tokens=self.tokens, starts=self.starts, learn=self.learn, bytes=np.array(self.bytes))

    @classmethod
    def load(cls, path: Path) -> Stream:
        """Read what ``save`` wrote. Raises DataError for anything else."""
        try:
            with np.load(path) as arrays:
                return cls(arrays["tokens"], arrays["starts"], arrays["learn"], int(arrays["bytes"]))
        except (OSError, EOFError, ValueError, KeyError, TypeError, BadZipFile) as error:
            raise DataError(f"{path}: expected a token stream as Paceline saves it; {error}.") from error


def tokenise(documents: Iterable[Document], tokenizer: PreTrainedTokenizerBase) -> Stream:
    """Turn documents into a ``Stream``.

    The unlearned head is encoded by itself, so it must end where a token ends (after a special token, say).

    Raises:
        DataError: no documents, or a vocabulary over 65,536.
    """
    documents = list(documents)
    if not documents or len(tokenizer) > 2**16:
        found = f"{len(documents)} documents and {len(tokenizer)} tokens"
        raise DataError(f"Expected at least one document and a vocabulary of at most 65536 tokens, found {found}.")
    heads = _encode(tokenizer, [d.text[: d.unlearned] for d in documents])
    bodies = _encode(tokenizer, [d.text[d.unlearned :] for d in documents])
    lengths = np.array([len(h) + len(b) for h, b in zip(heads, bodies, strict=True)])
    learn = np.concatenate([np.repeat([False, True], [len(h), len(b)]) for h, b in zip(heads, bodies, strict=True)])
    tokens = np.concatenate([np.array(h + b, dtype=np.uint16) for h, b in zip(heads, bodies, strict=True)])
    marks = (tokenizer.bos_token or "", tokenizer.eos_token or "")
    size = sum(len(d.text.removeprefix(marks[0]).removesuffix(marks[1]).encode()) for d in documents)
    return Stream(tokens, np.concatenate([[0], np.cumsum(lengths)]), learn, size)


def _encode(tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> list[list[int]]:
    return tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
