"""Texts of four kinds in a small vocabulary, endless and made on the spot: each needs keys of its own distance.

*text*: letters that follow from the last two, so near keys tell all. *needles*: `# name value` at random depths of such a text,
and `? name value` at its end. *copy*: a sequence of names, `=`, and the sequence again. *sums*: a short question of items, each a
letter, a name and a digit, and a long scratchpad that takes one after the other, looks its name and its digit up and adds the
digit to the sum, modulo ten: each step needs the step before and far keys. No loss falls on what is drawn by lot.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

from paceline.data.corpus import Stream

__all__ = ["ASK", "DIGIT", "KINDS", "SAME", "STOP", "WORDS", "Text", "spoken", "stream", "texts"]

NAMES, LETTERS = 64, 24
SIGNS = ("<s>", "</s>", "#", "?", "=", "Q", "take", "so", ".")
WORDS = (*SIGNS, *"0123456789", *(f"n{i}" for i in range(NAMES)), *(f"t{i}" for i in range(LETTERS)))
BOS, EOS, MARK, ASK, SAME, QUESTION, TAKE, SO, STOP = range(len(SIGNS))
DIGIT, NAME, LETTER = len(SIGNS), len(SIGNS) + 10, len(SIGNS) + 10 + NAMES
FOLLOWS = (0.6, 0.3, 0.1)  # of the three letters that may follow two others

Rng = np.random.Generator
Text = tuple[np.ndarray, np.ndarray]  # tokens [n], and which of them are to be foretold [n]


@cache
def followers() -> np.ndarray:
    """[letter, letter, 3]: the same language for every seed."""
    rng = np.random.default_rng(0)
    return np.array([[rng.choice(LETTERS, 3, replace=False) for _ in range(LETTERS)] for _ in range(LETTERS)])


def letters(rng: Rng, length: int) -> np.ndarray:
    found, chosen, table = [0, 1], rng.choice(3, length, p=FOLLOWS), followers()
    for which in chosen:
        found.append(int(table[found[-2], found[-1], which]))
    return LETTER + np.array(found[2:])


def text(rng: Rng, length: int) -> Text:
    tokens = np.concatenate([[BOS], letters(rng, length - 1)])
    return tokens, np.arange(length) > 2  # the first two are drawn by lot


def needles(rng: Rng, length: int) -> Text:
    count = length // (12 if length <= 128 else 24)  # short texts, where looking up is learned, are full of them
    names, values = NAME + rng.permutation(NAMES)[:count], NAME + rng.integers(0, NAMES, count)
    parts = np.array_split(letters(rng, length - 1 - 6 * count), np.sort(rng.integers(0, length - 1 - 6 * count, count)))
    hidden = [np.array([MARK, name, value]) for name, value in zip(names, values, strict=True)]
    asked = [np.array([ASK, names[i], values[i]]) for i in rng.permutation(count)]
    body = [piece for pair in zip(parts, hidden, strict=False) for piece in pair]
    tokens = np.concatenate([[BOS], *body, parts[-1], *asked])
    learn = np.zeros(length, dtype=bool)
    learn[length - 3 * count + 2 :: 3] = True
    return tokens, learn


def copy(rng: Rng, length: int) -> Text:
    n = int(rng.integers(max(2, length // 16), length // 4))
    names = NAME + rng.integers(0, NAMES, n)
    return np.concatenate([[BOS], names, [SAME], names, [EOS]]), np.arange(2 * n + 3) > n + 1


def sums(rng: Rng, length: int) -> Text:
    most = min(20, (length - 4) // 10)
    n = int(rng.integers(max(2, most // 2), most + 1))
    digits = rng.integers(0, 10, n)
    item = [LETTER + np.arange(n), NAME + rng.permutation(NAMES)[:n], DIGIT + digits]
    take, so, stop = (np.full(n, sign) for sign in (TAKE, SO, STOP))
    steps = np.stack([take, *item, so, DIGIT + np.cumsum(digits) % 10, stop], 1).reshape(-1)
    tokens = np.concatenate([[BOS, QUESTION], np.stack(item, 1).reshape(-1), [SAME], steps, [EOS]])
    return tokens, np.arange(len(tokens)) > 3 * n + 2


KINDS: dict[str, Callable[[Rng, int], Text]] = {"text": text, "needles": needles, "copy": copy, "sums": sums}


def texts(kind: str, count: int, length: int, seed: int) -> list[Text]:
    """So many texts of a kind, of at most so many tokens."""
    rng = np.random.default_rng([seed, length, list(KINDS).index(kind)])
    return [KINDS[kind](rng, length) for _ in range(count)]


def stream(found: list[Text]) -> Stream:
    """Texts end to end, for training."""
    tokens = np.concatenate([one for one, _ in found]).astype(np.uint16)
    starts = np.cumsum([0, *(len(one) for one, _ in found)])
    return Stream(tokens, starts, np.concatenate([learn for _, learn in found]), 2 * len(tokens))


def spoken(found: Text) -> str:
    """A text in words, as a user would hand it to a tokenizer."""
    return " ".join(WORDS[token] for token in found[0])
