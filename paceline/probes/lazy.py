"""Lazy layers: how much of their attention a text's last tokens give to the first few keys and to their own latest.

A lazy layer can do with a short cache (LightTransfer, Zhang et al., arXiv 2410.13846, section 3; `lm/capture.py` says what the
ratio is). What recency alone and the first keys alone get stands beside it: a layer may be lazy for either reason.
"""

from dataclasses import dataclass, field

import torch

from paceline.core.reading import Figure, Reading
from paceline.errors import DataError, SpecError
from paceline.lm.capture import lazy_ratio
from paceline.lm.trace import Seen, Subject
from paceline.probes import Watch
from paceline.probes._kept import Kept

__all__ = ["Lazy"]


@dataclass(frozen=True)
class Lazy:
    """Of each text's `last` tokens, their attention to the first `sinks` keys and to the `recent` latest that each sees; the
    paper has 4, 1,020 and 32. A text of at most sinks + recent tokens says nothing and is left out. The null level is that of
    uniform attention.
    """

    sinks: int = 4
    recent: int = 64
    last: int = 64

    def __post_init__(self) -> None:
        if min(self.sinks, self.recent) < 0 or self.last < 1:
            raise SpecError(f"lazy needs sinks >= 0, recent >= 0 and last >= 1; found sinks={self.sinks}, recent={self.recent}, "
                            f"last={self.last}.")

    def start(self, subject: Subject) -> Watch:
        return LazyWatch(self)


@dataclass
class LazyWatch:
    """Of each text and layer [whole ratio, recency alone, first keys alone], and the same for uniform attention."""

    options: Lazy
    found: Kept = field(default_factory=Kept)
    uniform: Kept = field(default_factory=Kept)

    def layer(self, seen: Seen) -> None:
        o = self.options
        if len(seen.positions) <= o.sinks + o.recent:
            return
        q, positions = seen.q[:, -o.last :].float() * seen.scale, seen.positions[-o.last :].tolist()
        parts = (o.sinks, o.recent), (0, o.recent), (o.sinks, 0)
        found = [lazy_ratio(q, seen.k, positions, *part, seen.window, seen.cap) for part in parts]
        even = [sum(uniform(at, *part, seen.window) for at in positions) / len(positions) for part in parts]
        for kept, ratios in ((self.found, found), (self.uniform, even)):
            kept.add(seen.text, seen.layer, torch.tensor(ratios))

    def reading(self) -> Reading:
        if not self.found.texts:
            raise DataError(f"Lazy layers show in texts of more than {self.options.sinks + self.options.recent} tokens; found "
                            "none as long.")
        values = {name: Figure(self.found.each[..., i], ("layer",), "share of attention", self.uniform.each[..., i].mean(0),
                               {"layer": self.found.layers}) for i, name in enumerate(("lazy", "recent", "sinks"))}
        how = ("Near 1, a layer would lose little without the keys between the first and the latest; at the null level it looks "
               "at all alike.")
        return Reading("lazy", values, how, len(self.found.texts))


def uniform(position: int, sinks: int, recent: int, window: int | None) -> float:
    """The ratio of a query that gives all keys it sees the same."""
    first = max(0, position + 1 - window) if window else 0
    kept = min(recent, position + 1 - first) + max(0, min(sinks, position + 1 - recent) - first)
    return kept / (position + 1 - first)
