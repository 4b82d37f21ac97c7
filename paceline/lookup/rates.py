"""How often a kind of evidence was right: learned from what the target took, also where nothing was drafted on it."""

from collections.abc import Callable, Hashable

__all__ = ["Rates"]

WEIGHT = 3.0  # observations that a belief counts for
KEEP = 0.98  # what an observation still weighs one observation of its kind later


class Rates:
    """Hits by key. A row's own begin with those of all rows, the `pool`, which learns with them; the pool begins with `prior`."""

    def __init__(self, prior: Callable[[Hashable], float] | None = None, pool: "Rates | None" = None) -> None:
        self.prior, self.pool = prior, pool
        self._seen: dict[Hashable, list[float]] = {}

    def of(self, key: Hashable) -> float:
        """The chance that evidence of this kind is right."""
        seen = self._seen.get(key)
        belief = self.pool.of(key) if self.pool is not None else self.prior(key) if self.prior is not None else 0.5
        return belief if seen is None else (seen[0] + WEIGHT * belief) / (seen[1] + WEIGHT)

    def learn(self, key: Hashable, hit: bool) -> None:
        """One more time it was right, or not."""
        seen = self._seen.setdefault(key, [0.0, 0.0])
        seen[0], seen[1] = KEEP * seen[0] + hit, KEEP * seen[1] + 1.0
        if self.pool is not None:
            self.pool.learn(key, hit)
