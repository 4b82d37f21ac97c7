"""How often a drafting model is right when it is so sure: learned from what the target took."""

import math
from collections.abc import Sequence

__all__ = ["BINS", "Calibration", "RankCalibration", "believed", "bin_of"]

BINS = 10  # of confidence, as wide as each other
WEIGHT = 6.0  # observations that what is believed beforehand counts for, in each bin
SLOW = 0.995  # the same for ranks, of which there are more to learn and no text of its own
KEEP = 0.95  # what an observation still weighs one observation of its bin later


class Calibration:
    """Acceptance by confidence, in bins. Begins with the belief of another, the `pool` of all texts, and goes its own way; what
    it learns the pool learns, too. Without a pool it begins with the square root of the confidence: a greedy target takes the
    likeliest token far more often than its probability, by about so much.
    """

    def __init__(self, pool: "Calibration | None" = None) -> None:
        self.pool = pool
        belief = pool.table if pool is not None else [believed(i) for i in range(BINS)]
        self.hits, self.tries = [WEIGHT * p for p in belief], [WEIGHT] * BINS

    @property
    def table(self) -> list[float]:
        """The chance that a token is accepted, given that what stands before it was, for each bin."""
        return [hits / tries for hits, tries in zip(self.hits, self.tries, strict=True)]

    def of(self, confidence: float) -> float:
        i = bin_of(confidence)
        return self.hits[i] / self.tries[i]

    def learn(self, confidences: Sequence[float], accepted: int) -> None:
        """The first `accepted` tokens of a chain were taken and the next, if there is one, was not."""
        for depth, confidence in enumerate(confidences[: accepted + 1]):
            i = bin_of(confidence)
            self.hits[i] = KEEP * self.hits[i] + (depth < accepted)
            self.tries[i] = KEEP * self.tries[i] + 1.0
        if self.pool is not None:
            self.pool.learn(confidences, accepted)


class RankCalibration:
    """How often a greedy target takes a drafting model's likeliest token, its second and so on, by how sure the model is of the
    first. Every place that the target judged tells of all ranks, drafted or not. At first the second is believed to be taken in
    half of the cases in which the first is not, the third in half of the rest, and so on.
    """

    def __init__(self, ranks: int) -> None:
        self.tries = [WEIGHT] * BINS
        self.hits = [[WEIGHT * (belief if r == 0 else (1 - belief) * 0.5**r) for r in range(ranks)]
                     for belief in map(believed, range(BINS))]

    def of(self, confidence: float) -> list[float]:
        """The chance of each rank, given that what stands before the place was accepted."""
        i = bin_of(confidence)
        return [hits / self.tries[i] for hits in self.hits[i]]

    def learn(self, confidence: float, rank: int | None) -> None:
        """At a place the target took the token of this rank, or none of those known."""
        i = bin_of(confidence)
        self.tries[i] = SLOW * self.tries[i] + 1.0
        self.hits[i] = [SLOW * hits + (r == rank) for r, hits in enumerate(self.hits[i])]


def believed(i: int) -> float:
    """The chance of a token in this bin of confidence, before any was seen."""
    return math.sqrt((i + 0.5) / BINS)


def bin_of(confidence: float) -> int:
    return min(BINS - 1, int(confidence * BINS))
