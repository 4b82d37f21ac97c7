"""A suffix automaton over a growing text: which of its endings stood in it before, and where last.

Blumer et al. 1985; grown online, a constant number of steps a token on average. Each state is a class of substrings that end at
the same places; `end` is the last of those places but the newest. As a drafter's index: Hu et al. 2024, SAM decoding (arXiv
2411.10666), which keeps the first place instead of the last.
"""

from collections.abc import Iterator, Sequence

__all__ = ["SuffixAutomaton"]


class SuffixAutomaton:
    """`extend` it by tokens; `matches` are the earlier places of the text's endings, the longest ending first."""

    def __init__(self, text: Sequence[int] = ()) -> None:
        self.text: list[int] = []
        self.following: list[dict[int, int]] = [{}]
        self.link, self.length, self.end = [-1], [0], [-1]
        self.last = 0
        for token in text:
            self.extend(token)

    def __len__(self) -> int:
        return len(self.text)

    def extend(self, token: int) -> None:
        """Take one more token."""
        following, link, length, end = self.following, self.link, self.length, self.end
        state, newest = link[self.last], len(self.text) - 1
        while state > 0:  # what had matched up to here now stood here last
            end[state] = newest
            state = link[state]
        self.text.append(token)
        new, state = len(following), self.last
        following.append({})
        length.append(length[state] + 1)
        end.append(newest + 1)
        link.append(0)
        while state != -1 and token not in following[state]:
            following[state][token] = new
            state = link[state]
        if state != -1:
            link[new] = self._class(state, token)
        self.last = new

    def _class(self, state: int, token: int) -> int:
        """The state of exactly the strings of `state` with this token behind them."""
        following, link, length = self.following, self.link, self.length
        found = following[state][token]
        if length[found] == length[state] + 1:
            return found
        clone = len(following)
        following.append(dict(following[found]))
        length.append(length[state] + 1)
        link.append(link[found])
        self.end.append(self.end[found])
        link[found] = clone
        while state != -1 and following[state].get(token) == found:
            following[state][token] = clone
            state = link[state]
        return clone

    def matches(self) -> Iterator[tuple[int, int]]:
        """(length of an ending, place of the token behind its last earlier occurrence), longest first, each place once."""
        state, seen = self.link[self.last], -1
        while state > 0:
            place = self.end[state] + 1
            if place != seen:
                yield self.length[state], place
            seen, state = place, self.link[state]
