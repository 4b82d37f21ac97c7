"""Paths through counts of past texts, as candidates of a trie: what followed a match, by how often."""

from collections.abc import Hashable
from dataclasses import dataclass
from heapq import heappop, heappush

from paceline.lookup.rates import Rates
from paceline.lookup.suffix_counts import Counts, Place
from paceline.lookup.trie import LEAST, Trie

__all__ = ["LONG", "Found", "counted", "follow"]

LONG = 12  # matches longer than this are alike
MOST = 64  # nodes of one match


@dataclass(frozen=True)
class Found:
    """Where counts come from, the length of what matched, and the most tokens to follow."""

    source: str
    length: int
    reach: int


def follow(tree: Trie, rates: Rates, counts: Counts, place: Place, found: Found) -> None:
    """Add what followed this place, the likeliest paths first, until there are enough."""
    waiting, made = [(-1.0, -1, place, found.length)], 0
    while waiting and made < MOST:
        _, node, here, known = heappop(waiting)
        following = list(counts.after(here))
        total = sum(count for _, count, _ in following)
        for token, count, leads in following:
            kind = (found.source, min(9, 10 * count // (total + 1)), min(known, LONG) // 3)
            after = tree.step(node, token, rates.of(kind), found.source, LEAST, kind)
            if after != node and known + 1 < found.reach + found.length:
                heappush(waiting, (-tree.values[after], after, leads, known + 1))
                made += 1


def counted(kind: Hashable) -> float:
    """The chance of a share of counts before any was seen: rare counts and short matches are less to go by."""
    assert isinstance(kind, tuple)
    _, share, length = kind
    return (share + 0.5) / 10 * min(0.6 + 0.1 * length, 0.9)
