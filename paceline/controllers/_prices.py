"""What rounds take: seconds by the nodes that are scored or drafted, learned from every round, whoever drafted it."""

from bisect import bisect_left
from dataclasses import dataclass, field

__all__ = ["START", "Line", "Mean", "Prices"]

RECENT = 31  # rounds that a mean goes back
SLOW = 3.0  # times the mean beyond which a round's seconds tell of the machine, not of what it did
START = 8  # first rounds of a text, slower than later ones: the prompt has driven the weights out of the processor's cache
UNSEEN = 0.02  # what one more node takes where none was seen, as a share of a round without any: little, so that it is tried


@dataclass
class Mean:
    """Of recent seconds. One far above it counts as slow; one far below shows that it was made of slow ones."""

    seconds: float = 0.0
    weight: float = 0.0

    def add(self, seconds: float) -> None:
        """Enter one more."""
        if seconds * SLOW < self.seconds:
            self.weight = 0.0
        self.weight = min(self.weight + 1, RECENT)
        most = seconds if self.weight == 1 or not self.seconds else min(seconds, SLOW * self.seconds)
        self.seconds += (most - self.seconds) / self.weight


class Line:
    """Seconds by nodes: means of 0, 1, 2 to 3, 4 to 7, … nodes, straight lines between them. unseen: slope where there is one
    mean only, as a share of it.
    """

    def __init__(self, unseen: float = 0.0) -> None:
        self.unseen, self._means = unseen, dict[int, Mean]()
        self._nodes: dict[int, float] = {}
        self._order: list[int] = []

    def __bool__(self) -> bool:
        return bool(self._means)

    def knows(self, nodes: int) -> bool:
        """Whether about so many were seen, or expected."""
        return nodes.bit_length() in self._means

    def seen(self, nodes: int) -> bool:
        """Whether about so many were, and are not only expected to take what they take."""
        return self.knows(nodes) and self._means[nodes.bit_length()].weight > 0

    def expect(self, nodes: int, seconds: float) -> None:
        """Until about so many are seen, they are taken to take this."""
        size = nodes.bit_length()
        self._means[size], self._nodes[size] = Mean(seconds), nodes
        self._order = sorted(self._means)

    def add(self, nodes: int, seconds: float) -> None:
        """Enter a round."""
        size = nodes.bit_length()
        if size not in self._means:
            self.expect(nodes, 0.0)
        mean = self._means[size]
        mean.add(seconds)
        self._nodes[size] += (nodes - self._nodes[size]) / mean.weight

    def at(self, nodes: float) -> float:
        """Seconds of so many nodes; beyond the last mean as between the last two. There has to be one."""
        order, place, means = self._order, self._nodes, self._means
        after = bisect_left(order, nodes, key=place.__getitem__)
        if after == 0:
            return means[order[0]].seconds
        low = order[after - 1]
        if len(order) == 1:
            return means[low].seconds * (1 + self.unseen * (nodes - place[low]))
        if beyond := after == len(order):
            low, after = order[-2], after - 1
        high = order[after]
        slope = (means[high].seconds - means[low].seconds) / (place[high] - place[low])
        return means[low].seconds + (max(0.0, slope) if beyond else slope) * (nodes - place[low])


@dataclass
class Prices:
    """For so many rows together: a round but for its drafting, whoever drafted (`settled`); the drafting, by drafter; and whole
    rounds of a row alone, by arm, of those that were picked unasked. The first rounds of a text say little of those that follow:
    they count (`young`) only until later ones with no node were seen, or are expected.
    """

    drafting: list[Line]
    whole: list[Mean]
    settled: Line = field(default_factory=lambda: Line(UNSEEN))
    young: Line = field(default_factory=lambda: Line(UNSEEN))

    @property
    def line(self) -> Line:
        return self.settled if self.settled.knows(0) else self.young

    def enter(self, nodes: int, seconds: float, index: int) -> None:
        """A text's round of this index took so long, drafting aside."""
        if index >= START:
            self.settled.add(nodes, seconds)
        elif not self.settled.knows(0):
            self.young.add(nodes, seconds)

    def enter_whole(self, arm: int, seconds: float, index: int) -> None:
        """An arm's round took so long, drafting included."""
        if index >= START or not self.whole[arm].weight:
            self.whole[arm].add(seconds)
