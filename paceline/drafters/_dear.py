"""What a drafter with a model is worth beside others that cost next to nothing: what asking it adds, and what that takes.

What it adds is expected, from the chances of its nodes, and held against what the text then took: a question's nodes, and those
that would have been scored without it. A model that is right on one kind of text is wrong on another, as sure of itself, so both
are learned by kind (`lookup/kinds.py`), and the second for each text by itself.
"""

import statistics
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from paceline.lookup.trie import Trie

__all__ = ["Asked", "Dear", "Row"]

OFTEN, LATELY = 8, 0.1  # questions for a row, at first, and the weight of the last row in that
RECENT = 15  # questions of which one's time is the median
KEEP = 0.95  # what a question still weighs one question later
HOPE, TRUST = 1.0, 4.0  # tokens that it is believed to add where least is expected without it; questions that a belief counts for
OWN = 16.0  # tokens for which what is expected is believed
FIRST = 4  # questions for a kind before what it adds is known
NEW, TRIAL = 0.03, 8  # share of all time that finding this out may cost, and the questions that it is feared to take
VENTURE, LEAST = 0.004, 0.25  # the same, to find out again what is nearly worth it; part of that where it is by far not
BEYOND = 1.3  # times what it takes that a question costs: it drives the target's weights out of the processor's caches


@dataclass
class Added:
    """What asking a drafter was expected to add of late: tokens of a round, and what scoring its nodes costs in plain steps."""

    times: int = 0
    weight: float = 0.0
    tokens: float = 0.0
    cost: float = 0.0

    def enter(self, tokens: float, cost: float) -> None:
        """It was asked once more."""
        self.times += 1
        self.weight = KEEP * self.weight + 1
        self.tokens += (tokens - self.tokens) / self.weight
        self.cost += (cost - self.cost) / self.weight


@dataclass
class Truth:
    """Tokens that asking has added, and those that it was expected to, the older the lighter."""

    added: float = 0.0
    expected: float = 0.0

    def enter(self, added: float, expected: float) -> None:
        """It was asked once more."""
        self.added, self.expected = KEEP * self.added + added, KEEP * self.expected + max(0.0, expected)

    @property
    def lift(self) -> float:
        """How many times what was expected it has added."""
        return max(0.0, self.added + OWN) / (self.expected + OWN)


@dataclass
class Texts:
    """Of texts of one kind: what asking was expected to add, by what was expected without it, and how much of that came true."""

    sizes: dict[int, Added] = field(default_factory=lambda: defaultdict(Added))
    truth: Truth = field(default_factory=Truth)

    def enter(self, asked: "Asked", added: float) -> None:
        """A question has added so many tokens."""
        self.sizes[asked.size].enter(asked.tokens, asked.cost)
        self.truth.enter(added, asked.tokens)


@dataclass
class Asked:
    """A question, until the text has shown what it was worth: at which length, and where about so much was expected without it;
    the nodes that would have been scored without it, and those that were; the tokens that these are expected to give more, and
    what they cost more, in plain steps.
    """

    at: int
    size: int
    without: tuple[Trie, Sequence[int]]
    beside: tuple[Trie, Sequence[int]]
    tokens: float
    cost: float

    def added(self, text: Sequence[int], ended: bool) -> int | None:
        """Tokens that the text took more of the nodes scored; None where it may go on through them."""
        after = text[self.at :]
        less, more = (tree.taken(nodes, after) for tree, nodes in (self.without, self.beside))
        return more - less if ended or max(less, more) < len(after) else None


@dataclass
class Row:
    """A row, of a kind of texts: how often a model was asked for it, and what that has added; whether it is a text on which the
    model is tried; and the questions that are open.
    """

    kind: int
    times: int = 0
    truth: Truth = field(default_factory=Truth)
    tried: bool = False
    open: list[Asked] = field(default_factory=list)


@dataclass
class Dear:
    """A drafter with a model: what it was expected to add, for all texts, and for each kind of them; the plain steps that a
    question takes, and the first one of a row, for which it reads the prompt: medians, since the very first ones measure what
    later ones then know. usual: questions for a row of a kind, at its end; lost: plain steps that asking in vain has cost;
    believed: what it is expected to add, until it is asked again.
    """

    every: dict[int, Added] = field(default_factory=lambda: defaultdict(Added))
    kinds: dict[int, Texts] = field(default_factory=lambda: defaultdict(Texts))
    taken: tuple[deque[float], deque[float]] = field(default_factory=lambda: (deque(maxlen=RECENT), deque(maxlen=RECENT)))
    steps: float = 0.0
    first: float = 0.0
    usual: dict[int, float] = field(default_factory=lambda: defaultdict(lambda: float(OFTEN)))
    lost: float = 0.0
    believed: dict[tuple[int, int], float] = field(default_factory=dict)

    def pays(self, row: Row, size: int, pace: float, spent: float) -> bool:
        """Whether asking for a row is worth its time, where `spent` plain steps have gone by. What it adds to a kind of text is
        found out on one text of it at a time, since a question by itself costs more than one of many; and again now and then, the
        seldomer the less it has brought.
        """
        gain, cost = self.trade(row, size, pace)
        cost *= BEYOND
        if gain >= cost:
            return True
        near = gain / cost if cost > 0 else 0.0
        if near > LEAST and self.kinds[row.kind].sizes[size].times < FIRST:
            row.tried = row.tried or self.lost + TRIAL * (cost - gain) <= NEW * spent
            if row.tried:
                return True
        return self.lost + cost - gain <= VENTURE * max(LEAST, near) * spent

    def trade(self, row: Row, size: int, pace: float) -> tuple[float, float]:
        """What asking adds and what it costs, in plain steps, where a step's time gives so many tokens; the reading of a prompt
        is spread over as many questions as usual.
        """
        reading = 0.0 if row.times else max(0.0, self.first - self.steps) / self.usual[row.kind]
        return self.expects(row.kind, size) * row.truth.lift / pace, self.every[size].cost + self.steps + reading

    def expects(self, kind: int, size: int) -> float:
        """Tokens that it adds, for a text of this kind."""
        known = self.believed.get((kind, size))
        if known is None:
            ours, usual = self.kinds[kind].sizes[size], self._lift(kind) * self._usual(size)
            known = (ours.weight * ours.tokens + TRUST * usual) / (ours.weight + TRUST) * self.kinds[kind].truth.lift
            self.believed[kind, size] = known
        return known

    def enter(self, row: Row, steps: float, asked: Asked, pace: float) -> None:
        """A question for a row took so long."""
        gain, cost = self.trade(row, asked.size, pace)
        self.lost += max(0.0, cost - gain)
        self.taken[not row.times].append(steps)
        self.steps, self.first = (statistics.median(each) if each else 0.0 for each in self.taken)
        row.times += 1
        row.open.append(asked)

    def settle(self, row: Row, text: Sequence[int], ended: bool = False) -> None:
        """Learn from how a row's text has gone on since the model was asked."""
        for asked in list(row.open):
            added = asked.added(text, ended)
            if added is None:
                continue
            row.open.remove(asked)
            kind = self.kinds[row.kind]
            row.truth.enter(added, asked.tokens * kind.truth.lift)
            kind.enter(asked, added)
            self.every[asked.size].enter(asked.tokens, asked.cost)
            self.believed.clear()

    def forget(self, row: Row, text: Sequence[int]) -> None:
        """A row has ended with this text."""
        self.settle(row, text, ended=True)
        if row.times:
            self.usual[row.kind] += LATELY * (row.times - self.usual[row.kind])

    def _usual(self, size: int) -> float:
        """Tokens that it adds, for a text of any kind; where more is expected without it, it is believed to add less."""
        every = self.every[size]
        return (every.weight * every.tokens + TRUST * HOPE / (1 << size >> 1)) / (every.weight + TRUST)

    def _lift(self, kind: int) -> float:
        """How many times what is usual it is expected to add for texts of this kind."""
        real = usual = TRUST * HOPE
        for size, added in self.kinds[kind].sizes.items():
            real += added.weight * added.tokens
            usual += added.weight * self._usual(size)
        return max(0.0, real) / usual if usual > 0 else 1.0
