"""A language whose freedom of order is known, and how well a translator of one pass writes it.

Sen -> NP VP; NP -> (DT) (RB)* (JJ)* N; VP -> V (NP) (RB)*. Every word has one translation, which one does not matter to a model
that knows none; words inside NP and VP keep their order. Only the two change places, and nothing in the source tells when.
Source: Zhang et al. 2022, "A Study of Syntactic Multi-Modality in Non-Autoregressive Machine Translation" (arXiv 2207.04206);
departures: 64 words, not 15,000, and at most two words where a star stands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import NamedTuple

from paceline.models.translation.body import padded
from paceline.models.translation.config import MASK
from paceline.train.translation import Sentences
from paceline.train.translation_metrics import repetition

__all__ = ["LONGEST", "VOCABULARY", "Grammar", "Sentence", "figures", "held_out", "null"]

DT, RB, JJ, N, V = (range(MASK + 1 + start, MASK + 1 + stop) for start, stop in ((0, 4), (4, 16), (16, 32), (32, 52), (52, 64)))
WORDS = V.stop - DT.start
VOCABULARY = V.stop + WORDS + len(DT)  # words, translations, and determiners of the second gender
LONGEST = 16
TWO = 2  # words at most where a star stands


class Sentence(NamedTuple):
    """Words, and their translation as its two blocks."""

    source: list[int]
    subject: list[int]
    verb: list[int]


@dataclass(frozen=True)
class Grammar:
    """subject_first: how often the translation keeps the order NP VP, P_lo in the source; else it is VP NP. agree: determiners
    have the gender of their noun, so that a phrase's words must fit together wherever it stands.
    """

    subject_first: float = 0.5
    agree: bool = False

    def draw(self, rng: Random) -> Sentence:
        subject, verb = noun_phrase(rng), verb_phrase(rng)
        return Sentence(subject + verb, self.translated(subject), self.translated(verb))

    def translated(self, words: Sequence[int]) -> list[int]:
        """From behind, since a determiner's noun follows it."""
        gender, said = 0, list[int]()
        for word in reversed(words):
            gender = word % 2 if word in N else gender
            said.append(word + WORDS * (1 + (self.agree and word in DT and gender)))
        return said[::-1]

    def orders(self, sentence: Sentence) -> list[list[int]]:
        """Translations that are right."""
        _, subject, verb = sentence
        return [subject + verb] * (self.subject_first > 0) + [verb + subject] * (self.subject_first < 1)

    def batch(self, rows: int, seed: object, step: int) -> Sentences:
        """Fresh pairs of every step; its number is the batch's."""
        rng = Random(f"{seed} {step}")
        drawn = [self.draw(rng) for _ in range(rows)]
        first = [rng.random() < self.subject_first for _ in drawn]
        target = [s.subject + s.verb if keeps else s.verb + s.subject for s, keeps in zip(drawn, first, strict=True)]
        return Sentences(padded([s.source for s in drawn]), padded(target), step, step)


def noun_phrase(rng: Random) -> list[int]:
    return [*some(rng, DT, 1), *some(rng, RB), *some(rng, JJ), rng.choice(N)]


def verb_phrase(rng: Random) -> list[int]:
    return [rng.choice(V), *(noun_phrase(rng) if rng.random() < 0.5 else []), *some(rng, RB)]


def some(rng: Random, words: range, most: int = TWO) -> list[int]:
    """None to so many, all different."""
    return rng.sample(words, rng.randint(0, most))


def held_out(grammar: Grammar, count: int) -> list[Sentence]:
    """The same for all models."""
    rng = Random("held out")
    return [grammar.draw(rng) for _ in range(count)]


def null(grammar: Grammar, count: int) -> dict[str, float]:
    """The figures of the right words in any order."""
    rng, sentences = Random(0), held_out(grammar, count)
    return figures(grammar, sentences, [rng.sample(s.subject + s.verb, len(s.source)) for s in sentences])


def figures(grammar: Grammar, sentences: Sequence[Sentence], out: Sequence[list[int]]) -> dict[str, float]:
    """What is written, out, as shares. exact: equal to a right order. bag: the right words. ordered: exact ones of those. lcs: of
    a sentence's words, those of the longest common subsequence with the nearest right order. repetition: of the tokens, those
    equal to the one before. lost: of the pairs of neighbours inside NP and VP, those that are not written. disagree: of the
    determiners, those whose next noun has not their gender.
    """
    orders = [grammar.orders(sentence) for sentence in sentences]
    exact = mean(words in right for right, words in zip(orders, out, strict=True))
    bag = mean(sorted(right[0]) == sorted(words) for right, words in zip(orders, out, strict=True))
    inside = [Counter([*pairwise(s.subject), *pairwise(s.verb)]) for s in sentences]
    lost = sum((wanted - Counter(pairwise(words))).total() for wanted, words in zip(inside, out, strict=True))
    return {
        "exact": exact, "bag": bag, "ordered": exact / (bag or 1.0),
        "lcs": mean(max(common(one, words) for one in right) / len(words) for right, words in zip(orders, out, strict=True)),
        "repetition": repetition(out), "lost": lost / max(1, sum(wanted.total() for wanted in inside)),
        "disagree": 1 - mean(fit for words in out for fit in agreements(words)),
    }  # fmt: skip


def agreements(written: list[int]) -> Iterator[bool]:
    """Of each determiner, whether the next noun has its gender."""
    noun: int | None = None
    for word in reversed(written):
        if word - WORDS in N:
            noun = word % 2  # as in the source, since WORDS is even
        elif word - WORDS in DT or word >= V.stop + WORDS:
            yield noun == (word >= V.stop + WORDS)


def common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for x in a:
        for j, (y, before) in enumerate(zip(b, row[:-1], strict=True), 1):
            row[j] = before + 1 if x == y else max(row[j], row[j - 1])
    return row[-1]


def mean(values: Iterable[float]) -> float:
    some = list(values)
    return sum(some) / max(1, len(some))
