"""What drafters that were not asked would have proposed, judged by what the text became: side observations at the price of a
guess.

A drafter without a model proposes in microseconds, and whether its proposal would have been accepted is seen as soon as the text
has grown past it, without any forward: greedy decoding, and with a seed every chosen node, take exactly the nodes that the text
goes through. A drafter says of itself that it is `free` for this.
"""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from paceline.proposal import Proposal

__all__ = ["Guess", "Shadow", "matched"]

EVERY = 4  # rounds of a row between two questions, at least
SHARE, LEAST = 0.01, 0.1  # of all seconds that asking a drafter may take where it would give a token more; the least part of that
RECENT = 0.1  # weight of the last guess in what a drafter gives, and in what asking it costs
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
class Account:
    """Of one drafter: seconds of asking it so far and of one question, and the tokens that its rounds would lately have given.
    The first question is not counted: it measures or makes what others then have.
    """

    begun: bool = False
    spent: float = 0.0
    price: float = 0.0
    gives: float = 2.0

    def enter(self, seconds: float) -> None:
        """A question that took so long."""
        if self.begun:
            self.spent += seconds
            self.price += (RECENT if self.price else 1.0) * (seconds - self.price)
        self.begun = True

    def affords(self, seconds: float) -> bool:
        """Whether of so many seconds of decoding another question is worth its price."""
        return self.spent + self.price <= SHARE * max(LEAST, min(1.0, self.gives - 1)) * seconds


class Shadow:
    """Guesses of the free drafters for every row, until they can be judged."""

    def __init__(self, drafters: Sequence[Any]) -> None:
        self.asked = {which: (drafter, Account()) for which, drafter in enumerate(drafters) if getattr(drafter, "free", False)}
        self.waiting: dict[int, deque[Guess]] = {}
        self.seconds = 0.0  # of all rows so far
        self._seen: dict[int, float] = {}  # of these, a row's

    def look(self, rows: Sequence[Any], arms: Sequence[Any], controller: Hears) -> None:
        """Tell what became of earlier guesses, and ask for new ones; arms: what is at work for each row."""
        for row, arm in zip(rows, arms, strict=True):
            for guess, tokens in self.judged(row) if row.id in self.waiting else ():
                controller.hear(row.id, guess.drafter, tokens, len(guess.proposal), guess.seconds)
            if row.stats.rounds % EVERY == 0 and row.drafting:
                self.seconds += row.stats.total_seconds - self._seen.get(row.id, 0.0)
                self._seen[row.id] = row.stats.total_seconds
                self.ask(row, arm.drafter if arm.budget else -1, min(NODES, row.left - 1))

    def ask(self, row: Any, active: int, budget: int) -> None:
        """Ask every free drafter but the one at work, as far as that can be afforded. One that raises is not heard: its turn at
        work will show why.
        """
        for which, (drafter, account) in self.asked.items() if budget > 0 else ():
            if which != active and account.affords(self.seconds):
                start = time.perf_counter()
                try:
                    [proposal] = drafter.propose([row], [budget])
                except Exception:
                    continue
                seconds = time.perf_counter() - start
                account.enter(seconds)
                self.waiting.setdefault(row.id, deque()).append(Guess(which, proposal.clip(budget), len(row.tokens), seconds))

    def judged(self, row: Any) -> list[tuple[Guess, int]]:
        """The guesses that the text has outgrown, each with the tokens its round would have given, the bonus token included."""
        found, waiting = [], self.waiting.get(row.id, deque())
        while waiting and len(row.tokens) > waiting[0].length + max(waiting[0].proposal.depths(), default=0):
            guess = waiting.popleft()
            tokens, account = 1 + matched(guess.proposal, row.tokens[guess.length :]), self.asked[guess.drafter][1]
            account.gives += RECENT * (tokens - account.gives)
            found.append((guess, tokens))
        if not waiting:
            self.waiting.pop(row.id, None)
        return found

    def forget(self, row: Any) -> None:
        self.waiting.pop(row.id, None)
        self._seen.pop(row.id, None)


def matched(proposal: Proposal, text: Sequence[int]) -> int:
    """How many tokens of a text a tree holds from its root on."""
    node, count = -1, 0
    for token in text:
        after = next((child for child in proposal.children(node) if proposal.tokens[child] == token), None)
        if after is None:
            break
        node, count = after, count + 1
    return count
