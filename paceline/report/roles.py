"""One word for every head, by the pattern that holds the largest share of its attention. Pure functions of readings."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from paceline.core.reading import Figure, Reading
from paceline.report.table import figure, marks

__all__ = ["MIXED", "ROLES", "SURE", "Evidence", "Head", "evidence", "heads", "strongest", "tally"]

MIXED = "mixed"
NEAR = 4  # tokens back that are near
SURE = 0.75  # share of texts from which on a word is called sure


def lags(scores: Figure, least: int, most: float = math.inf) -> torch.Tensor:
    """Of slash scores [texts, layers, heads, lags], those at these lags, and a zero, since there may be none."""
    found = scores.each[..., [least <= lag <= most for lag in scores.ticks["lag"]]]
    return torch.cat((found, torch.zeros_like(scores.each[..., :1])), -1)


@dataclass(frozen=True)
class Role:
    """What a word means; where its evidence stands: a probe's figure, what makes of it [texts, layers, heads] (or [texts, layers,
    1], for all heads of a layer), and the `least` that counts as holding.
    """

    means: str
    probe: str = ""
    figure: str = ""
    share: Callable[[Figure], torch.Tensor] = lambda f: f.each
    least: float = 1.0


ROLES = {
    "sink": Role("one early token gets 0.3 or more", "sinks", "alpha", lambda f: f.each.amax(-1), 0.3),
    "slash": Role("the token at one distance gets 0.1 or more", "slash", "score", lambda f: lags(f, 1).amax(-1), 0.1),
    "induction": Role("what followed this token before gets 0.2 or more", "induction", "induction", least=0.2),
    "local": Role("its own and the next four get 0.5 or more beside any one distance", "slash", "score",
                  lambda f: lags(f, 0, NEAR).sum(-1) - lags(f, 1, NEAR).amax(-1), 0.5),
    "lazy": Role("in its layer, the first and the latest get 0.8 or more", "lazy", "lazy", lambda f: f.each[..., None], 0.8),
    MIXED: Role("none of these"),
}  # fmt: skip


@dataclass(frozen=True)
class Evidence:
    """How much of its attention each head gives to a pattern: share [texts, layers, heads], NaN where a text says nothing, of
    the layers of these numbers.
    """

    word: str
    share: torch.Tensor
    least: float
    layers: Sequence[int]

    @property
    def mean(self) -> torch.Tensor:
        return self.share.nanmean(0)

    @property
    def holds(self) -> torch.Tensor:
        """Share of the texts in which the pattern holds, [layers, heads]."""
        return torch.where(self.share.isnan(), torch.nan, (self.share >= self.least).float()).nanmean(0)


@dataclass(frozen=True)
class Head:
    """A head's word; confidence: the share of texts in which the pattern holds (for mixed: in which none does); shares: word ->
    mean share of its attention.
    """

    layer: int
    head: int
    word: str
    confidence: float
    shares: Mapping[str, float]

    @property
    def strength(self) -> float:
        return self.shares.get(self.word, 0.0)

    @property
    def sure(self) -> bool:
        return self.confidence >= SURE


def evidence(readings: Sequence[Reading]) -> list[Evidence]:
    """What these readings say of each word that they can tell."""
    found = [(word, role, figure(readings, role.probe, role.figure)) for word, role in ROLES.items()]
    return [Evidence(word, role.share(f), role.least, marks(f, "layer")) for word, role, f in found
            if f is not None and tells(role, f)]


def tells(role: Role, found: Figure) -> bool:
    """Whether attention that is spread evenly is far from earning the word: in short texts, all layers seem lazy."""
    if found.null is None:
        return True
    even = replace(found, each=torch.as_tensor(found.null).expand(found.mean.shape)[None])
    return float(role.share(even).mean()) < role.least / 2


def heads(found: Sequence[Evidence]) -> list[Head]:
    """Every head with its word, layer by layer; none where nothing tells heads apart. A pattern counts where its mean over texts
    reaches its `least`; of several, the one with the largest share. Lazy is said of heads for which nothing else counts, since
    sinks and near tokens are what makes a layer lazy.
    """
    if all(e.word == "lazy" for e in found):
        return []
    layers, count = torch.broadcast_shapes(*(e.mean.shape for e in found))
    means, holds = ({e.word: part(e).expand(layers, count) for e in found} for part in (lambda e: e.mean, lambda e: e.holds))
    least = {e.word: e.least for e in found}

    def at(each: Mapping[str, torch.Tensor], i: int, j: int) -> dict[str, float]:
        return {word: float(share[i, j]) for word, share in each.items()}

    return [_head(layer, j, at(means, i, j), at(holds, i, j), least)
            for i, layer in enumerate(found[0].layers) for j in range(count)]


def _head(layer: int, head: int, shares: dict[str, float], holds: dict[str, float], least: Mapping[str, float]) -> Head:
    counting = [word for word, share in shares.items() if share >= least[word]]
    word = max(counting, key=lambda word: (word != "lazy", shares[word]), default=MIXED)
    return Head(layer, head, word, holds.get(word, 1 - max(holds.values())), shares)


def strongest(found: Sequence[Head], most: int = 10) -> list[Head]:
    """Those whose own pattern is the farthest above the least that counts; lazy is said of layers, not of one head."""
    named = (h for h in found if h.word not in (MIXED, "lazy"))
    return sorted(named, key=lambda h: -h.strength / ROLES[h.word].least)[:most]


def tally(found: Sequence[Head]) -> dict[str, int]:
    """Word -> how many heads have it, in the order of `ROLES`."""
    counts = Counter(h.word for h in found)
    return {word: counts[word] for word in ROLES if counts[word]}
