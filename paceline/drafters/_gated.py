"""When to ask a drafter with a model beside others that cost next to nothing: where the tokens it adds are worth what it takes.

What it adds is what the text takes of the nodes scored, beyond what it takes of those that the others had. That is little where
they expect much, so it is learned by how much they expect, from all texts; and a model that is right on one text is wrong on
another, so each text has a factor of its own.
"""

import statistics
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from paceline.core.row import Row
from paceline.lookup.stopping import worthwhile
from paceline.lookup.trie import Trie

__all__ = ["Gate", "Plan"]

CHUNK = 64  # tokens from which on reading what is new to the model counts
FIRST, RECENT = 3, 15  # questions before a price is believed, the first ones being slow, and those whose median it is
KEEP, FADE = 0.98, 0.95  # what a question still weighs one later: of all texts, and of its own
HOPE, TRUST = 1.5, 4.0  # tokens that it is believed to add where least is expected, and the questions that this counts for
OWN = 3.0  # tokens for which a text is taken to be like all others
TRIAL = 0.01  # share of the time that asking may cost where it is not believed to pay


class Plan(NamedTuple):
    """Nodes to be scored: the tokens that a round with them is expected to give, and what it costs in plain steps."""

    tree: Trie
    nodes: Sequence[int]
    tokens: float
    cost: float

    @property
    def size(self) -> int:
        """About how much is expected: the power of two."""
        return int(self.tokens).bit_length()


@dataclass
class Text:
    """A text at a gate: tokens that were added to it, and those that other texts let one expect, the older the lighter; how much
    of it the model has read; and of the last question the plans without it and, once it was asked, with it.
    """

    added: float = OWN
    expected: float = OWN
    read: int = 0
    plans: list[Plan] = field(default_factory=list)


class Gate:
    """Before one drafter with a model. steps_to_read: plain steps in which that reads so many tokens."""

    def __init__(self, steps_to_read: Callable[[int], float]) -> None:
        self.steps_to_read = steps_to_read
        self.texts: dict[int, Text] = {}
        self._seen = defaultdict[int, list[float]](lambda: [0.0, 0.0])  # by what was expected: tokens added, questions
        self._prices = deque[float](maxlen=RECENT)
        self._since = 0  # rounds without a question

    def opens(self, row: Row, plan: Plan) -> bool:
        """Whether to ask for a row where this is what the others have."""
        text, self._since = self.texts.setdefault(row.id, Text()), self._since + 1
        text.plans = [plan]
        hope = self._usual(plan) * max(0.0, text.added) / text.expected
        price = statistics.median_low(self._prices) if len(self._prices) >= FIRST else 0.0
        unread, rounds = len(row.tokens) - text.read, max(1.0, row.left / (plan.tokens + hope))
        reading = self.steps_to_read(unread) if unread >= CHUNK else 0.0
        if worthwhile(hope, price + reading / rounds, plan.tokens, plan.cost) or TRIAL * self._since > price + reading:
            self._since = 0
            return True
        return False

    def enter(self, row: Row, steps: float, plan: Plan) -> None:
        """The drafter was asked and took so many plain steps; now this is planned. What read a long prompt, too, has no price."""
        text = self.texts[row.id]
        if len(row.tokens) - text.read < CHUNK:
            self._prices.append(steps + plan.cost - text.plans[0].cost)
        text.plans.append(plan)
        text.read = len(row.tokens)

    def settle(self, row: Row) -> None:
        """Learn from how the row's text went on since the drafter was asked."""
        text = self.texts.get(row.id)
        if text is None or len(text.plans) < 2:
            return
        without, beside = ((p.tree.taken(p.nodes, row.tokens[text.read :])) for p in text.plans)
        added, plan = beside - without, text.plans[0]
        text.added = OWN + FADE * (text.added - OWN) + added
        text.expected = OWN + FADE * (text.expected - OWN) + self._usual(plan)
        seen = self._seen[plan.size]
        seen[:] = KEEP * seen[0] + added, KEEP * seen[1] + 1
        text.plans = []

    def forget(self, row: Row) -> None:
        """Drop a row; one that failed in the midst of its text leaves its last question unanswered."""
        if row.finish_reason is not None:
            self.settle(row)
        self.texts.pop(row.id, None)

    def _usual(self, plan: Plan) -> float:
        """Tokens that asking is expected to add, on any text."""
        tokens, times = self._seen[plan.size]
        return max(0.0, tokens + TRUST * HOPE / (1 << plan.size >> 1)) / (times + TRUST)
