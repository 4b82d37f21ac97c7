"""What plain decoding takes here: a round of one token a text, as rounds themselves tell."""

from collections import defaultdict, deque
from collections.abc import Callable, Sequence

__all__ = ["PlainSteps", "median"]

FEW, RECENT = 3, 7  # plain rounds that tell what one takes, and those whose median it is


class PlainSteps:
    """Seconds of a plain round, for so many rows of about such a length: the median of the last ones; before the first, that of
    the nearest length, or what `expected(rows)` says of forwards alone, which is less.
    """

    def __init__(self, expected: Callable[[int], float]) -> None:
        self.expected = expected
        self._seen = defaultdict[int, dict[int, deque[float]]](dict)  # by rows, then by the length's power of two
        self._typical = defaultdict[int, dict[int, float]](dict)

    def enter(self, rows: int, length: int, seconds: float) -> None:
        """A plain round took so long."""
        size = length.bit_length()
        seen = self._seen[rows].setdefault(size, deque(maxlen=RECENT))
        seen.append(seconds)
        self._typical[rows][size] = median(seen)

    def known(self, rows: int) -> bool:
        """Whether a few with so many rows were timed."""
        return sum(map(len, self._seen[rows].values())) >= FEW

    def seconds(self, rows: int, length: int) -> float:
        """Of a plain round."""
        known, size = self._typical[rows], length.bit_length()
        return known[min(known, key=lambda each: abs(each - size))] if known else self.expected(rows)


def median(seconds: Sequence[float]) -> float:
    """The lower one of an even number."""
    return sorted(seconds)[(len(seconds) - 1) // 2]
