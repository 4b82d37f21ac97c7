"""Counts of what followed what in past outputs: a suffix tree cut at a depth, in flat arrays.

Every ending of every text is entered down to `DEPTH` tokens. A branch that only one place of the texts takes is one edge, a
span of the kept tokens, so there are at most two nodes for each token. Source: Oliaro et al. 2025, SuffixDecoding (arXiv
2411.04975), section 4: counts decide what is drafted. Departures: the depth is capped and edges are spans, so memory is bounded
and small; texts come in two generations, of which the older is dropped when the newer is full, so old traffic fades.
"""

import sys
from array import array
from collections.abc import Iterator, Sequence

__all__ = ["DEPTH", "Counts", "Generations"]

DEPTH = 16  # tokens of context and continuation together
WIDEST = 32  # children of a node that are compared, the newest first
SHIFT = 20  # bits of a token in a child's key

Place = tuple[int, int]  # a node, and how many tokens of its edge lie behind


class Counts:
    """Nodes: `count` of the endings that go through; `start` and `length` of their edge's tokens in `text`; `first` and `sibling`
    chain a node's children; `child` finds them by node and token.
    """

    def __init__(self) -> None:
        self.text, self.count, self.start = array("i"), array("i", [0]), array("i", [0])
        self.length, self.first, self.sibling = array("b", [0]), array("i", [0]), array("i", [0])
        self.child: dict[int, int] = {}

    def __len__(self) -> int:
        """Tokens held."""
        return len(self.text)

    @property
    def bytes(self) -> int:
        """Of memory, the table of children included."""
        arrays = (self.text, self.count, self.start, self.length, self.first, self.sibling)
        return sum(a.itemsize * len(a) for a in arrays) + sys.getsizeof(self.child) + 60 * len(self.child)  # two ints each

    def add(self, tokens: Sequence[int]) -> None:
        """Count every part of a finished text."""
        base = len(self.text)
        self.text.extend(tokens)
        for place in range(base, len(self.text)):
            self._enter(place, min(place + DEPTH, len(self.text)))

    def _enter(self, place: int, stop: int) -> None:
        """Count the tokens from `place` to `stop` and all their beginnings."""
        text, lengths, starts, counts, child = self.text, self.length, self.start, self.count, self.child
        node = 0
        counts[0] += 1
        while place < stop:
            found = child.get(node << SHIFT | text[place])
            if found is None:
                self._append(node, place, stop - place, 1)
                return
            start, same, most = starts[found], 1, min(lengths[found], stop - place)
            while same < most and text[start + same] == text[place + same]:
                same += 1
            if same < lengths[found]:
                self._split(found, same)
            counts[found] += 1
            node, place = found, place + same

    def _append(self, parent: int, start: int, length: int, count: int) -> None:
        new = len(self.count)
        self.count.append(count)
        self.start.append(start)
        self.length.append(length)
        self.first.append(0)
        self.sibling.append(self.first[parent])
        self.first[parent] = new
        self.child[parent << SHIFT | self.text[start]] = new

    def _split(self, node: int, at: int) -> None:
        """Cut a node's edge: it keeps the first `at` tokens, a new node below it takes the rest and the children."""
        new, below = len(self.count), self.first[node]
        while below:
            token = self.text[self.start[below]]
            self.child[new << SHIFT | token] = self.child.pop(node << SHIFT | token)
            below = self.sibling[below]
        below, self.first[node] = self.first[node], 0
        self._append(node, self.start[node] + at, self.length[node] - at, self.count[node])
        self.length[node], self.first[new] = at, below

    def find(self, tokens: Sequence[int]) -> Place | None:
        """Where this string ends in the tree, None where it never stood."""
        node, done, gone, n = 0, 0, 0, len(tokens)
        while done < n:
            found = self.child.get(node << SHIFT | tokens[done])
            if found is None:
                return None
            start, gone = self.start[found], min(self.length[found], n - done)
            for i in range(1, gone):
                if self.text[start + i] != tokens[done + i]:
                    return None
            node, done = found, done + gone
        return node, gone

    def after(self, place: Place) -> Iterator[tuple[int, int, Place]]:
        """(token, its count, where it leads) of what followed there; of very many, the newest."""
        node, gone = place
        if gone < self.length[node]:
            yield self.text[self.start[node] + gone], self.count[node], (node, gone + 1)
            return
        here, looked = self.first[node], 0
        while here and looked < WIDEST:
            yield self.text[self.start[here]], self.count[here], (here, 1)
            here, looked = self.sibling[here], looked + 1


class Generations:
    """Counts of past texts, at most `cap` tokens in each of two generations."""

    def __init__(self, cap: int) -> None:
        self.cap, self.old, self.new = cap, Counts(), Counts()

    def add(self, tokens: Sequence[int]) -> None:
        """Count a finished text; a full generation becomes the old one, and the old one goes."""
        if len(self.new) and len(self.new) + len(tokens) > self.cap:
            self.old, self.new = self.new, Counts()
        self.new.add(tokens[-self.cap :])

    def matches(self, tail: Sequence[int], least: int = 1) -> Iterator[tuple[int, Counts, Place]]:
        """(length, where it was counted, the place) of the longest ending of `tail` that stood in a past text and went on, in
        either generation.
        """
        for counts in (self.new, self.old):
            length, place, beyond = least - 1, None, min(DEPTH - 1, len(tail)) + 1
            while len(counts) and beyond - length > 1:  # where an ending stood, all shorter ones did, so the interval is halved
                middle = (length + beyond) // 2
                found = counts.find(tail[len(tail) - middle :])
                if found is not None and next(counts.after(found), None) is not None:
                    length, place = middle, found
                else:
                    beyond = middle
            if place is not None:
                yield length, counts, place
