"""Sentences whose translation has a known order: words are translated one by one, but some endings follow earlier endings.

A target token is a word with one of four endings. "agreement": the ending follows from that `lag` tokens before, the first `lag`
are free. "free choice": endings follow from the source words, but every `lag + 1` tokens one is free, and the one `lag` tokens
later must suit it. "choice in the source": the same, but what was free follows from the source, too. What an ending asks for is a
permutation of the endings, so that a model that sees neither the earlier one nor what it came from is right for one in four, and
no guess is better.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from paceline.models.translation.config import MASK
from paceline.train.translation import Encoded

__all__ = ["ENDINGS", "LENGTH", "VOCABULARY", "Drawn", "Rule", "drawn", "taken_apart"]

WORDS, ENDINGS, LENGTH = 8, 4, 12  # LENGTH: tokens of each sentence
SOURCE = MASK + 1  # the first id of source words; those of target tokens follow
TARGET = SOURCE + WORDS
VOCABULARY = TARGET + WORDS * ENDINGS


@dataclass(frozen=True)
class Rule:
    """Which endings follow which."""

    kind: Literal["agreement", "free choice", "choice in the source"]
    lag: int


class Drawn(NamedTuple):
    """Sentences as ids, and the places ``[T]`` whose endings follow an earlier one."""

    pairs: Encoded
    ruled: np.ndarray


def drawn(rule: Rule, count: int, seed: int, part: int) -> Drawn:
    """`count` sentences; the seed makes the language, its parts have different sentences."""
    tables = np.random.default_rng([seed, 0])
    own, after = tables.permutation(np.arange(WORDS) % ENDINGS), tables.permutation(ENDINGS)
    rng, places = np.random.default_rng([seed, 1 + part]), np.arange(LENGTH)
    words, free = rng.integers(WORDS, size=(count, LENGTH)), rng.integers(ENDINGS, size=(count, LENGTH))
    agreement, block = rule.kind == "agreement", rule.lag + 1
    ruled = places >= rule.lag if agreement else places % block == rule.lag
    opened = agreement | ((rule.kind == "free choice") & (places % block == 0))
    endings = np.where(opened, free, own[words])
    for n in np.flatnonzero(ruled):
        endings[:, n] = after[endings[:, n - rule.lag]]
    pairs = (SOURCE + words).tolist(), (TARGET + words * ENDINGS + endings).tolist()
    return Drawn(pairs, ruled)


def taken_apart(tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Words and endings of target tokens; of other ids words that there are not."""
    return (tokens - TARGET) // ENDINGS, (tokens - TARGET) % ENDINGS
