"""What rounds take: seconds by the nodes that are scored or drafted, learned from every round, whoever drafted it."""

from bisect import bisect_left
from dataclasses import dataclass, field

__all__ = ["START", "Line", "Prices"]

RECENT = 31  # rounds that a mean goes back
SLOW = 3.0  # times the mean beyond which a round's seconds tell of the machine, not of what it did
START = 8  # first rounds of a text, slower than later ones: the prompt has driven the weights out of the processor's cache
EARLY = 0.2  # weight of the last text in how much slower those are
UNSEEN = 0.15  # what one more node takes where it was never seen, as a share of a forward without any


@dataclass
class Point:
    """Rounds of about as many nodes: the mean of these, of their seconds, and how many count."""

    nodes: float
    seconds: float
    weight: float = 1.0


class Line:
    """Seconds by nodes: means of 0, 1, 2 to 3, 4 to 7, … nodes, straight lines between them. unseen: slope where there is one
    mean only, as a share of it.
    """

    def __init__(self, unseen: float = 0.0) -> None:
        self.unseen, self._points = unseen, dict[int, Point]()
        self._order: list[Point] = []

    def __len__(self) -> int:
        return len(self._points)

    def knows(self, nodes: int) -> bool:
        """Whether about so many were seen."""
        return nodes.bit_length() in self._points

    def add(self, nodes: int, seconds: float) -> None:
        """Enter a round. One far slower than the mean counts as slow; one far faster shows that the mean was of slow ones."""
        point = self._points.get(nodes.bit_length())
        if point is None or seconds * SLOW < point.seconds:
            self._points[nodes.bit_length()] = Point(nodes, seconds)
            self._order = sorted(self._points.values(), key=lambda p: p.nodes)
            return
        point.weight = min(point.weight + 1, RECENT)
        point.seconds += (min(seconds, SLOW * point.seconds) - point.seconds) / point.weight
        point.nodes += (nodes - point.nodes) / point.weight

    def at(self, nodes: float) -> float:
        """Seconds of so many nodes; beyond the last mean as between the last two. There has to be one."""
        points = self._order
        after = bisect_left(points, nodes, key=lambda p: p.nodes)
        if after == 0:
            return points[0].seconds
        if len(points) == 1:
            return points[0].seconds * (1 + self.unseen * (nodes - points[0].nodes))
        low, high = points[after - 1 : after + 1] if after < len(points) else points[-2:]
        slope = (high.seconds - low.seconds) / (high.nodes - low.nodes)
        return low.seconds + (slope if after < len(points) else max(0.0, slope)) * (nodes - low.nodes)


@dataclass
class Prices:
    """For so many rows together: a round but for its drafting, whoever drafted; the drafting, by drafter; and how much longer the
    first rounds of a text take than those that follow. Until later rounds were seen with no node the first ones stand for them.
    """

    drafting: list[Line]
    whole: list[Line]
    settled: Line = field(default_factory=lambda: Line(UNSEEN))
    young: Line = field(default_factory=lambda: Line(UNSEEN))
    early: list[float] = field(default_factory=lambda: [0.0] * START)

    @property
    def line(self) -> Line:
        return self.settled if self.settled.knows(0) else self.young

    @property
    def plain(self) -> float:
        """Of a round without a draft."""
        return self.line.at(0)

    def at(self, nodes: float) -> float:
        """Of a round with so many nodes, drafting aside."""
        return self.line.at(nodes)

    def enter(self, nodes: int, seconds: float, index: int) -> None:
        """A text's round of this index took so long, drafting aside."""
        if index >= START:
            self.settled.add(nodes, seconds)
        elif self.settled.knows(0):
            usual = self.settled.at(nodes)
            self.early[index] += EARLY * (min(max(0.0, seconds - usual), SLOW * usual) - self.early[index])
        else:
            self.young.add(nodes, seconds)

    def later(self, index: int) -> float:
        """Seconds that a round takes longer at this place of a text."""
        return self.early[index] if index < START else 0.0
