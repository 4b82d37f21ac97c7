"""Which way a translator was trained to go, and whether a text reads like the wrong side of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path

from paceline.files import read_json, replace_json

__all__ = ["Direction"]

FILE = "direction.json"
SURE = 5.0  # nats of evidence, in all, and half a nat a token, below which a few words are no ground for a complaint
EACH = 0.5


@dataclass(frozen=True)
class Direction:
    """source, target: the languages, empty where nobody named them. leaning: of each subword, log p(subword | source side) -
    log p(subword | target side) in the training texts, each count one higher: a naive Bayes classifier of languages that costs
    one look-up a token. It knows these two alone; of a third it cannot tell.
    """

    source: str
    target: str
    leaning: list[float]

    @classmethod
    def of(cls, pairs: tuple[Sequence[Sequence[int]], Sequence[Sequence[int]]], vocabulary: int,
           names: tuple[str, str] = ("", "")) -> Direction:
        """From encoded training pairs."""
        counts = [Counter(chain.from_iterable(side)) for side in pairs]
        rest = math.log((counts[1].total() + vocabulary) / (counts[0].total() + vocabulary))
        return cls(*names, [round(math.log((counts[0][i] + 1) / (counts[1][i] + 1)) + rest, 2) for i in range(vocabulary)])

    @classmethod
    def load(cls, folder: Path) -> Direction | None:
        """None where the folder does not say."""
        return cls(**read_json(folder / FILE)) if (folder / FILE).exists() else None

    def save(self, folder: Path) -> None:
        replace_json(folder / FILE, asdict(self))

    def backwards(self, ids: Iterable[int]) -> bool:
        """Whether these tokens read like the language that is translated into."""
        leaning = [self.leaning[i] for i in ids]
        return sum(leaning) < -max(SURE, EACH * len(leaning))

    def complaint(self) -> str:
        """What to say then."""
        if not self.source:
            return "The texts read like the language that this model translates into, not like the one it translates from."
        return f"The texts read like {self.target}, but this model translates from {self.source} into {self.target}."
