"""What was thought of the end of a row's text, and what the text then taught of it: shared by drafters that learn as they go."""

from collections.abc import Sequence

from paceline.lookup.rates import Rates
from paceline.lookup.trie import Trie

__all__ = ["Guess"]


class Guess:
    """One row's last `tree`, made when its text had `at` tokens, and its own `rates` of the kinds of evidence in it."""

    def __init__(self, pool: Rates) -> None:
        self.rates, self.tree, self.at = Rates(pool=pool), Trie(), 0

    def renew(self, tokens: Sequence[int]) -> Trie:
        """Learn from what the text took since, and begin a tree for where it ends now."""
        for node, hit in self.tree.judged(tokens[self.at :]):
            self.rates.learn(self.tree.kinds[node], hit)
        self.tree, self.at = Trie(), len(tokens)
        return self.tree
