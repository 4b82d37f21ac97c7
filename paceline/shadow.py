"""What drafters without a model would propose: offered before it is picked who drafts, and where another is picked judged by what
the text became.

Such a drafter proposes in microseconds, and whether its proposal would have been accepted is seen as soon as the text has grown
past it, without any forward: greedy decoding, and with a seed every chosen node, take exactly the nodes that the text goes
through. A drafter says of itself that it is `free` for this.
"""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from paceline.arm import Arm, Offer
from paceline.proposal import Proposal

__all__ = ["Guess", "Shadow", "matched"]

EVERY = 4  # rounds of a row between two questions that are not wanted, at least
SHARE, LEAST = 0.01, 0.1  # of all seconds that asking a drafter may take where it would give a token more; the least part of that
RECENT = 0.1  # weight of the last guess in what a drafter gives, and in what asking it costs


Ask = Callable[[int, Sequence[tuple[Any, int]]], dict[int, Proposal]]


class Hears(Protocol):
    """A controller that wants to know. most: nodes of its largest budget."""

    most: int

    def hear(self, row: int, drafter: int, tokens: int, nodes: int, seconds: float) -> None: ...

    def wants(self, row: int, drafter: int) -> bool: ...


@dataclass(frozen=True)
class Guess:
    """A proposal that was not scored yet. length: tokens of the text when it was made. seconds: to make it."""

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
    """Asks free drafters before it is picked who drafts: those that the controller wants always, others as far as that can be
    afforded. Who is picked drafts what it has said; what the others said waits until it can be judged.
    """

    def __init__(self, drafters: Sequence[Any], controller: Hears) -> None:
        self.asked = {which: Account() for which, drafter in enumerate(drafters) if getattr(drafter, "free", False)}
        self.controller = controller
        self.waiting: dict[int, deque[Guess]] = {}
        self.seconds = 0.0  # of all rows so far
        self._seen: dict[int, float] = {}  # of these, a row's

    def look(self, rows: Sequence[Any], budgets: Sequence[int], ask: Ask) -> list[list[Offer]]:
        """Tell what became of the rows' earlier guesses, and have new ones made of so many nodes at most. ask: has a drafter
        propose for some rows, each with its budget; the rows' proposals by id, without those that failed.
        """
        for row in rows if self.waiting else ():
            for guess, tokens in self.judged(row):
                self.controller.hear(row.id, guess.drafter, tokens, len(guess.proposal), guess.seconds)
        offers: list[list[Offer]] = [[] for _ in rows]
        for which in self.asked:
            wanted = [self._wanted(row, which) if budget > 0 else None for row, budget in zip(rows, budgets, strict=True)]
            if any(want is not None for want in wanted):
                self._ask(which, [(row, min(budget, self.controller.most), want, said) for row, budget, want, said
                                  in zip(rows, budgets, wanted, offers, strict=True) if want is not None], ask)
        return offers

    def _ask(self, which: int, group: Sequence[tuple[Any, int, bool, list[Offer]]], ask: Ask) -> None:
        """Have a drafter propose for these rows, each with its budget, whether that is wanted, and the list of its offers."""
        start = time.perf_counter()
        made = ask(which, [(row, budget) for row, budget, _, _ in group])
        seconds = (time.perf_counter() - start) / len(group)
        for row, _, wanted, said in group:
            if not wanted:
                self.asked[which].enter(seconds)
            if row.id in made:
                guess = Guess(which, made[row.id].chosen(), len(row.tokens), seconds)
                self.waiting.setdefault(row.id, deque()).append(guess)
                said.append(Offer(which, len(guess.proposal)))

    def _wanted(self, row: Any, which: int) -> bool | None:
        """Whether the controller wants this drafter to be asked for a row; None = it is not asked."""
        if not row.drafting or row.struck(which):
            return None
        if self.controller.wants(row.id, which):
            return True
        return False if row.stats.rounds % EVERY == 0 and self.asked[which].affords(self._so_far(row)) else None

    def _so_far(self, row: Any) -> float:
        """Seconds of all rows until now."""
        total = row.stats.total_seconds
        self.seconds += total - self._seen.get(row.id, 0.0)
        self._seen[row.id] = total
        return self.seconds

    def take(self, row: Any, arm: Arm) -> Guess | None:
        """The drafter that was picked goes to work; what it has said, if it was asked, is no guess any more."""
        for guess in self.waiting.get(row.id, ()) if arm.budget else ():
            if guess.drafter == arm.drafter and guess.length == len(row.tokens):
                self.waiting[row.id].remove(guess)
                return guess
        return None

    def judged(self, row: Any) -> list[tuple[Guess, int]]:
        """The guesses that the text has outgrown, each with the tokens its round would have given, the bonus token included."""
        found, later, waiting = [], deque[Guess](), self.waiting.pop(row.id, ())
        for guess in waiting:
            if len(row.tokens) > guess.length + max(guess.proposal.depths(), default=0):
                tokens, account = 1 + matched(guess.proposal, row.tokens[guess.length :]), self.asked[guess.drafter]
                account.gives += RECENT * (tokens - account.gives)
                found.append((guess, tokens))
            else:
                later.append(guess)
        if later:
            self.waiting[row.id] = later
        return found

    def forget(self, row: Any) -> None:
        """Drop a row that has ended."""
        for kept in (self.waiting, self._seen):
            kept.pop(row.id, None)


def matched(proposal: Proposal, text: Sequence[int]) -> int:
    """How many tokens of a text a tree holds from its root on."""
    node, count = -1, 0
    for token in text:
        after = next((child for child in proposal.children(node) if proposal.tokens[child] == token), None)
        if after is None:
            break
        node, count = after, count + 1
    return count
