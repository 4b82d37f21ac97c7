"""What followed the longest ending of the text that stood before, in this text or in what was written before (SuffixDecoding).

Source: Oliaro et al. 2025, SuffixDecoding (arXiv 2411.04975): a suffix tree over past outputs, another structure over the row's
own text, a tree of the likeliest continuations. Departures: the row's text is held in a suffix automaton, which finds the
longest match of any length in constant time; what a match is worth is learned as it goes, for every kind of evidence, also from
continuations that were not drafted; and how many nodes are drafted follows their price. Past outputs are kept per tenant and
never mixed.
"""

import functools
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from paceline.core.proposal import Proposal
from paceline.core.protocols import Target
from paceline.core.row import Row
from paceline.errors import SpecError
from paceline.lookup.followed import LONG, Found, counted, follow
from paceline.lookup.guess import Guess
from paceline.lookup.rates import Rates
from paceline.lookup.suffix_automaton import SuffixAutomaton
from paceline.lookup.suffix_counts import DEPTH, Generations
from paceline.lookup.trie import LEAST, Trie, price_of

__all__ = ["Suffix"]

WAITING = 1000  # ended texts that wait to be counted, at most: where nobody asks, nothing is learned
MATCHES = 3  # endings of a row's text that are followed, the longest first
TOGETHER = 256  # tokens of ended texts that one question takes in, at least one text
OWN = 4  # tokens of a match that the target wrote itself, from which on it is taken to follow what it wrote


@dataclass(frozen=True)
class Suffix:
    """length: most tokens of a path. past: tokens of past outputs held for a tenant, twice at most; 0 = only the row's own text.
    worth: price of a drafted token as a share of a plain step; None = as measured, 0 = all that the budget allows.
    """

    length: int = 16
    past: int = 500_000
    worth: float | None = None

    def __post_init__(self) -> None:
        if self.length < 1 or self.past < 0 or not 0 <= (self.worth or 0) < 1:
            raise SpecError(f"suffix needs length >= 1, past >= 0 and 0 <= worth < 1; found length={self.length}, "
                            f"past={self.past}, worth={self.worth}.")

    def attach(self, lm: Target) -> "Suffixes":
        return Suffixes(self, lm)


@dataclass
class Memory:
    """One row's text, and what is thought of how it goes on."""

    guess: Guess
    text: SuffixAutomaton = field(default_factory=SuffixAutomaton)


class Suffixes:
    """The attached drafter: a `Memory` for each row, counts of past outputs for each tenant."""

    captures, has_model, timed = (), False, True

    def __init__(self, options: Suffix, lm: Target) -> None:
        self.options, self.lm = options, lm
        self.rates = Rates(believed)
        self.past: dict[str, Generations] = {}
        self.ended = deque[tuple[str, list[int]]](maxlen=WAITING)  # tenants and outputs that are not counted yet
        self._rows: dict[int, Memory] = {}

    def propose(self, rows: Sequence[Row], budgets: Sequence[int]) -> list[Proposal]:
        """For each row the continuations that are worth their price; all nodes are chosen."""
        price = price_of(self.lm, self.options.worth, rows)
        return [self.grown(row).best(budget, price) for row, budget in zip(rows, budgets, strict=True)]

    def forget(self, row: Row) -> None:
        """A row that has ended leaves its output to those that come, which count it when they ask."""
        self._rows.pop(row.id, None)
        if row.finish_reason is not None and self.options.past:
            self.ended.append((row.request.tenant, row.new_tokens))

    def grown(self, row: Row) -> Trie:
        """All that may follow, with the chances."""
        memory = self._rows.get(row.id) or self._rows.setdefault(row.id, Memory(Guess(self.rates)))
        if memory.guess.at == len(row.tokens):  # asked twice
            return memory.guess.tree
        tree = memory.guess.renew(row.tokens)
        for token in row.tokens[len(memory.text) :]:
            memory.text.extend(token)
        self._from_text(tree, memory, len(row.tokens) - row.prompt_len)
        if self.options.past:
            self._take_in()
            for length, counts, place in self._of(row.request.tenant).matches(row.tokens[-DEPTH:]):
                follow(tree, memory.guess.rates, counts, place, Found("past", length, self.options.length))
        return tree

    def _take_in(self) -> None:
        """Count outputs that have ended, a few at a time."""
        taken = 0
        while self.ended and taken < TOGETHER:
            tenant, tokens = self.ended.popleft()
            self._of(tenant).add(tokens)
            taken += len(tokens)

    def _of(self, tenant: str) -> Generations:
        if tenant not in self.past:
            self.past[tenant] = Generations(self.options.past)
        return self.past[tenant]

    def _from_text(self, tree: Trie, memory: Memory, written: int) -> None:
        """Paths behind earlier occurrences; one that runs into the end of the text goes on with what it just gave. That a prompt
        ends as a passage of it began says little of what the target will write, so it counts how much of a match it wrote.
        """
        text, rates = memory.text.text, memory.guess.rates
        for rank, (length, place) in enumerate(memory.text.matches()):
            if rank == MATCHES:
                return
            node, period = -1, len(text) - place
            for i in range(self.options.length):
                kind = ("text", rank, min(length + i, LONG), min(written + i, OWN))
                after = tree.step(node, text[place + i % period], rates.of(kind), "text", LEAST, kind)
                if after == node:
                    break
                node = after


@functools.cache
def believed(kind: Hashable) -> float:
    """The chance of a kind of evidence before any was seen: long matches are often right, later ones instead of them seldom, and
    those of a prompt with itself hardly more often than by chance.
    """
    assert isinstance(kind, tuple)
    if kind[0] == "text":
        _, rank, length, written = kind
        return min(0.4 + 0.1 * length, 0.85) * (0.4 + 0.6 * written / OWN) * 0.3**rank
    return counted(kind)


def tiny(lm: Target) -> Suffix:
    return Suffix(length=4, past=64, worth=0.0)
