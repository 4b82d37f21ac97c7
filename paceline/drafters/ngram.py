"""Prompt lookup: what followed the last time these tokens stood here (Saxena 2023, prompt lookup decoding).

Departures from the original: the text is indexed as it grows, so a proposal costs O(1) instead of a scan; the longest match and
then the most recent one is taken first; a match that runs into the end of the text goes on copying itself, so loops are followed;
draft length follows what matches of that length have given in this row, so wrong matches stop costing verify time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from paceline.core.proposal import Proposal
from paceline.core.protocols import Target
from paceline.core.row import Row
from paceline.errors import SpecError
from paceline.lookup.stopping import worthwhile
from paceline.lookup.trie import Trie

__all__ = ["Ngram"]

PRIOR = 2.0  # weight, in tokens, of the expected acceptance before any was seen
KEEP = 0.9  # what an observation still weighs one observation later


@dataclass(frozen=True)
class Ngram:
    """max_n, min_n: longest and shortest match in tokens. length: most tokens of the main candidate; budget left over goes to
    other continuations of the same match, as branches. worth: price of a drafted token as a share of a plain step; a token is
    drafted while the chance of its path makes the round faster (0 = always up to `length`); None = as measured, for as many rows
    as are decoded together.
    """

    max_n: int = 4
    min_n: int = 2
    length: int = 10
    worth: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.min_n <= self.max_n:
            raise SpecError(f"ngram needs 1 <= min_n <= max_n; found min_n={self.min_n}, max_n={self.max_n}.")
        if self.length < 1 or not 0 <= (self.worth or 0) < 1:
            raise SpecError(f"ngram needs length >= 1 and 0 <= worth < 1; found length={self.length}, worth={self.worth}.")

    def attach(self, lm: Target) -> "Lookup":
        return Lookup(self, lm)


@dataclass
class Index:
    """One row's n-grams: gram -> places that followed it, oldest first; and how matches of each length have done."""

    places: dict[tuple[int, ...], list[int]] = field(default_factory=dict)
    indexed: int = 0
    hits: dict[int, list[float]] = field(default_factory=dict)  # match length -> [accepted, tried]
    asked: tuple[int, int, list[int]] = (0, 0, [])  # where the text ended, match length and chain of the last proposal


class Lookup:
    """The attached drafter; its memory is one `Index` per row."""

    captures, has_model, timed = (), False, True

    def __init__(self, options: Ngram, lm: Target) -> None:
        self.options, self.lm, self.worth = options, lm, options.worth or 0.0
        self._rows: dict[int, Index] = {}

    def propose(self, rows: Sequence[Row], budgets: Sequence[int]) -> list[Proposal]:
        """For each row, continuations of the longest recent match of its tail; all nodes are chosen."""
        if self.options.worth is None:
            self.worth = self.lm.costs.token(len(rows), max(len(row.tokens) for row in rows))
        return [self._propose(row, budget) for row, budget in zip(rows, budgets, strict=True)]

    def forget(self, row: Row) -> None:
        self._rows.pop(row.id, None)

    def _propose(self, row: Row, budget: int) -> Proposal:
        index = self._rows.setdefault(row.id, Index())
        self._learn(index, row)
        self._extend(index, row.tokens)
        n, places = self._match(index, row.tokens)
        if not places:
            return Proposal()
        length = min(budget, self._length(index, n))
        tree = Trie()
        for rank, place in enumerate(reversed(places)):  # the latest first, whole; the others as far as the budget goes
            chances = [0.5**rank, *[1.0] * length]
            tree.add(zip(_continue(row.tokens, place, length), chances, strict=False), "ngram")
        index.asked = (len(row.tokens), n, list(_continue(row.tokens, places[-1], length)))
        return tree.best(budget)

    def _extend(self, index: Index, tokens: Sequence[int]) -> None:
        """Index every gram that has a continuation by now; the tail itself has none yet."""
        for end in range(index.indexed, len(tokens) - 1):
            for n in range(self.options.min_n, min(self.options.max_n, end + 1) + 1):
                index.places.setdefault(tuple(tokens[end - n + 1 : end + 1]), []).append(end + 1)
        index.indexed = max(index.indexed, len(tokens) - 1)

    def _match(self, index: Index, tokens: Sequence[int]) -> tuple[int, list[int]]:
        """(match length, up to four latest places that followed it), the longest match that there is."""
        for n in range(min(self.options.max_n, len(tokens)), self.options.min_n - 1, -1):
            places = index.places.get(tuple(tokens[-n:]))
            if places:
                return n, places[-4:]
        return 0, []

    def _length(self, index: Index, n: int) -> int:
        """Tokens worth drafting after a match of n, all of which are accepted with the same chance, given those before."""
        if self.worth == 0 or self.worth >= 1:
            return self.options.length if self.worth == 0 else 0
        accepted, tried = index.hits.get(n, (0.0, 0.0))
        expected = (accepted + PRIOR * min(0.4 + 0.1 * n, 0.8)) / (tried + PRIOR)
        if expected <= self.worth:
            return 1 if tried * (1 - KEEP) < 0.5 else 0
        drafted, path, tokens = 1, expected, 1 + expected
        while drafted < self.options.length and worthwhile(path := path * expected, self.worth, tokens, 1 + drafted * self.worth):
            drafted, tokens = drafted + 1, tokens + path
        return drafted

    def _learn(self, index: Index, row: Row) -> None:
        """Count how far the text took the last proposal's chain, whoever drafted since."""
        at, n, chain = index.asked
        text = row.tokens[at : at + len(chain)]
        accepted = next((i for i, (a, b) in enumerate(zip(chain, text, strict=False)) if a != b), len(text))
        if text and chain:
            old = index.hits.get(n, [0.0, 0.0])
            index.hits[n] = [KEEP * old[0] + accepted, KEEP * old[1] + accepted + (accepted < len(text))]
        index.asked = (0, 0, [])


def _continue(tokens: Sequence[int], place: int, length: int) -> Iterator[int]:
    """`length` tokens from `place` on; past the end of the text it goes on with what it just gave."""
    period = len(tokens) - place
    for i in range(length):
        yield tokens[place + i % period]


def tiny(lm: Target) -> Ngram:
    return Ngram(max_n=3, min_n=1, length=4, worth=0.0)
