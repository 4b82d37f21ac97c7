"""What drafters that were not asked would have proposed, judged by what the text became: side observations at the price of a
guess.

A drafter without a model proposes in microseconds, and whether its proposal would have been accepted is seen as soon as the text
has grown past it, without any forward: greedy decoding, and with a seed every chosen node, take exactly the nodes that the text
goes through. A drafter says of itself that it is `free` for this.
"""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from paceline.proposal import Proposal

__all__ = ["Guess", "Shadow", "matched"]

EVERY = 4  # rounds of a row between two questions, at least
SHARE = 0.01  # of a row's seconds that asking may take
NODES = 16  # of a guess


class Hears(Protocol):
    """A controller that wants to know."""

    def hear(self, row: int, drafter: int, tokens: int, nodes: int, seconds: float) -> None: ...


@dataclass(frozen=True)
class Guess:
    """A proposal that was never scored. length: tokens of the text when it was made. seconds: to make it."""

    drafter: int
    proposal: Proposal
    length: int
    seconds: float


@dataclass
class Shadow:
    """Guesses of the free drafters for every row, until they can be judged."""

    drafters: Sequence[Any]
    waiting: dict[int, deque[Guess]] = field(default_factory=dict)
    spent: dict[int, float] = field(default_factory=dict)  # seconds of asking, by row

    def look(self, rows: Sequence[Any], arms: Sequence[Any], controller: Hears) -> None:
        """Tell what became of earlier guesses, and ask for new ones; arms: what is at work for each row."""
        for row, arm in zip(rows, arms, strict=True):
            for guess, tokens in self.judged(row):
                controller.hear(row.id, guess.drafter, tokens, len(guess.proposal), guess.seconds)
            affordable = self.spent.get(row.id, 0.0) <= SHARE * row.stats.total_seconds
            if row.drafting and row.stats.rounds % EVERY == 0 and affordable:
                self.ask(row, arm.drafter if arm.budget else -1, min(NODES, row.left - 1))

    def ask(self, row: Any, active: int, budget: int) -> None:
        """Ask every free drafter but the one at work. One that raises is not heard: its turn at work will show why."""
        for which, drafter in enumerate(self.drafters if budget > 0 else ()):
            if which != active and getattr(drafter, "free", False):
                start = time.perf_counter()
                try:
                    [proposal] = drafter.propose([row], [budget])
                except Exception:
                    continue
                seconds = time.perf_counter() - start
                self.spent[row.id] = self.spent.get(row.id, 0.0) + seconds
                self.waiting.setdefault(row.id, deque()).append(Guess(which, proposal.clip(budget), len(row.tokens), seconds))

    def judged(self, row: Any) -> list[tuple[Guess, int]]:
        """The guesses that the text has outgrown, each with the tokens its round would have given, the bonus token included."""
        found, waiting = [], self.waiting.get(row.id, deque())
        while waiting and len(row.tokens) > waiting[0].length + max(waiting[0].proposal.depths(), default=0):
            guess = waiting.popleft()
            found.append((guess, 1 + matched(guess.proposal, row.tokens[guess.length :])))
        return found

    def forget(self, row: Any) -> None:
        self.waiting.pop(row.id, None)
        self.spent.pop(row.id, None)


def matched(proposal: Proposal, text: Sequence[int]) -> int:
    """How many tokens of a text a tree holds from its root on."""
    node, count = -1, 0
    for token in text:
        after = next((child for child in proposal.children(node) if proposal.tokens[child] == token), None)
        if after is None:
            break
        node, count = after, count + 1
    return count
