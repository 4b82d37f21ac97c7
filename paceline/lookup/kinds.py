"""Kinds of texts, told apart by their prompts as these come: what drafts well for one of a kind does so for the next."""

from collections.abc import Sequence

import numpy as np

__all__ = ["Kinds"]

LAST = 256  # tokens of a prompt that are looked at
WIDTH = 1024  # places that token ids are folded into
ALIKE = 0.2  # cosine below which a prompt is the first of a new kind
SLOW = 1 / 32  # weight, at least, of a new prompt in the centre of its kind


class Kinds:
    """`of(tokens)` tells the number of a prompt's kind, counted from 0, at most `most` of them.

    A prompt is the bag of its last tokens: each weighs the root of its count, and the more the fewer prompts have it, nothing
    where all do (tf-idf; Spärck Jones 1972). It is of the kind whose mean it is most like, which moves towards it, or the first
    of a new one (leader clustering; Hartigan 1975). Nothing is trained, and nothing else of a text is kept.
    """

    def __init__(self, most: int = 8) -> None:
        self.means = np.zeros((most, WIDTH))  # of roots of counts, not weighed
        self.sizes: list[int] = []  # prompts of each kind
        self._having = np.zeros(WIDTH)  # prompts with a token

    def of(self, tokens: Sequence[int]) -> int:
        """The kind of a prompt, which from now on counts among those of its kind."""
        prompt = np.sqrt(np.bincount(np.array(tokens[-LAST:], dtype=np.int64) % WIDTH, minlength=WIDTH))
        self._having += prompt > 0
        rare = np.log((2 + sum(self.sizes)) / np.maximum(1, self._having)) ** 2
        kind = self._nearest(prompt, rare)
        if kind == len(self.sizes):
            self.sizes.append(0)
        self.sizes[kind] += 1
        self.means[kind] += max(SLOW, 1 / self.sizes[kind]) * (prompt - self.means[kind])
        return kind

    def _nearest(self, prompt: np.ndarray, weights: np.ndarray) -> int:
        """The kind that a prompt is most like; the next one where it is like none and there may be more."""
        means, weighed = self.means[: len(self.sizes)], weights * prompt
        lengths = np.sqrt((means * means) @ weights * (prompt @ weighed))
        likeness = means @ weighed / np.maximum(1e-9, lengths)
        if len(means) < len(self.means) and max(likeness, default=0.0) < ALIKE:
            return len(means)
        return int(likeness.argmax())
