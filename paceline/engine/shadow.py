"""What drafters that cost little to ask would have drafted, judged by what the text became.

Most have no model and propose in microseconds, and whether a proposal would have been accepted is seen as soon as the text has
grown past it, without any forward: greedy decoding, and with a seed every chosen node, take exactly the nodes that the text goes
through. A drafter says of itself that it is `free` for this.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from paceline.core.arms import Order
from paceline.core.proposal import Proposal
from paceline.engine.drafting import Turn

__all__ = ["Guess", "Shadow", "matched"]

SHARE, LEAST = 0.01, 0.3  # of all seconds that asking a drafter may take where it would give a token more; the least part of that
RECENT = 0.1  # weight of the last guess in what a drafter gives, and in what asking it costs

Ask = Callable[[int, Sequence[tuple[Any, int]]], tuple[dict[int, Proposal], float]]


class Hears(Protocol):
    """A controller that wants to know. most: nodes of its largest budget."""

    most: int

    def hear(self, row: int, drafter: int, tokens: int, nodes: int, seconds: float) -> None: ...


@dataclass(frozen=True)
class Guess:
    """A proposal that was not scored. length: tokens of the text when it was made. seconds: to make it."""

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
    """Keeps what free drafters said in vain until it can be judged, and asks those that an order leaves out as far as that can
    be afforded.
    """

    def __init__(self, drafters: Sequence[Any], controller: Hears) -> None:
        self.asked = {which: Account() for which, drafter in enumerate(drafters) if getattr(drafter, "free", False)}
        self.controller = controller
        self.waiting: dict[int, deque[Guess]] = {}
        self.seconds = 0.0  # of all rows so far
        self._seen: dict[int, float] = {}  # of these, a row's

    def free(self, row: Any) -> list[int]:
        """Drafters that can be asked for a row."""
        return [which for which in self.asked if row.drafting and not row.disabled(which)]

    def keep(self, turn: Turn, length: int) -> None:
        """What was said for a row whose text had so many tokens and is not scored."""
        for drafter, (proposal, seconds) in turn.said.items():
            self._add(turn.row, Guess(drafter, proposal, length, seconds))

    def tell(self, rows: Sequence[Any]) -> None:
        """Let the controller hear what became of the rows' guesses."""
        for row in rows if self.waiting else ():
            for guess, tokens in self.judged(row):
                self.controller.hear(row.id, guess.drafter, tokens, len(guess.proposal), guess.seconds)

    def probe(self, rows: Sequence[Any], orders: Sequence[Order], ask: Ask) -> None:
        """Have those guess that no order names. ask: has a drafter propose for rows with their budgets (`Drafting.ask`)."""
        for which, account in self.asked.items():
            group = [(row, min(self.controller.most, row.left - 1)) for row, order in zip(rows, orders, strict=True)
                     if row.left > 1 and which in self.free(row) and not order.names(which)
                     and account.affords(self._so_far(row))]
            if not group:
                continue
            made, seconds = ask(which, group)
            for row, _ in group:
                account.enter(seconds)
                if row.id in made:
                    self._add(row, Guess(which, made[row.id].chosen(), len(row.tokens), seconds))

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

    def _add(self, row: Any, guess: Guess) -> None:
        self.waiting.setdefault(row.id, deque()).append(guess)

    def _so_far(self, row: Any) -> float:
        """Seconds of all rows until now."""
        total = row.stats.total_seconds
        self.seconds += total - self._seen.get(row.id, 0.0)
        self._seen[row.id] = total
        return self.seconds


def matched(proposal: Proposal, text: Sequence[int]) -> int:
    """How many tokens of a text a tree holds from its root on."""
    node, count = -1, 0
    for token in text:
        after = next((child for child in proposal.children(node) if proposal.tokens[child] == token), None)
        if after is None:
            break
        node, count = after, count + 1
    return count
