"""Lazy layers, whose late queries look at the first and the last keys alone, keep only those (LightTransfer-Test, Zhang et al.
2024, arXiv 2410.13846, section 3).

How lazy a layer is, its share of attention on those keys, is measured on the prompt's last tokens, layer by layer. A queue holds
the layers that keep all; once it is too long, the laziest of it is cut. What is left does not depend on the order: the queries of
a prompt see everything whatever is cut, so this is sorting, one layer at a time.

Departures: the prompt's very last token is read in the first round of decoding, so the last queries end before it; it sees all
keys, and the first new token's law stays the model's own, as in the paper. Prompts are read in chunks and all layers of a chunk
at once, so layers are told apart when the last chunk is read and cut once that token is: at its peak a prompt has all layers in
full, where the paper's single chunk has one more than are kept. `early` bounds that peak another way. A prompt of no more than
`sinks` + `recent` keys tells no layers apart, and none is cut.
"""

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import accumulate
from typing import Literal

from paceline.core.trace import Trace
from paceline.errors import SpecError
from paceline.lm.capture import lazy_ratio
from paceline.lm.kv import FULL, Slot
from paceline.patterns import Plan
from paceline.patterns.sliding import Sliding

__all__ = ["LightTransfer"]

GOLDEN = (5**0.5 - 1) / 2  # its multiples, modulo 1, are spread evenly, however many are taken

Ratios = Iterable[tuple[int, float]]  # layers in order, each with how readily it is cut


@dataclass(frozen=True)
class LightTransfer:
    """keep: share of the layers that keep all keys. sinks, recent: what the others keep. last: queries that are looked at.

    threshold: instead of `keep`, cut each layer that has more than this share of its attention on what it would keep (SimLayerKV,
    the same paper's first version). budget: instead of `keep`, cut the laziest layers as long as what they lose of their
    attention adds up to no more than this. layers: cut these, whatever the text. by: what is cut first: the laziest, or, as
    controls, the least lazy, layers by lot (`seed`), evenly spread, or from both ends inwards. early: choose when so many tokens
    of a prompt are read, in whole chunks, and read the rest under the plan: from there on no layer that is cut holds more than it
    keeps, and less is computed; but what follows is the hybrid model's own reading of the prompt, its first token too.
    """

    keep: float = 0.5
    sinks: int = 4
    recent: int = 1020
    last: int = 32
    threshold: float | None = None
    budget: float | None = None
    layers: tuple[int, ...] = ()
    by: Literal["lazy", "reversed", "random", "uniform", "ends"] = "lazy"
    seed: int = 0
    early: int | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.keep <= 1 or min(self.sinks, self.recent - 1, self.last - 1) < 0:
            raise SpecError(f"lighttransfer needs 0 <= keep <= 1, sinks >= 0, recent >= 1 and last >= 1; found keep={self.keep}, "
                            f"sinks={self.sinks}, recent={self.recent}, last={self.last}.")
        if self.by != "lazy" and (self.threshold, self.budget) != (None, None) or None not in (self.threshold, self.budget):
            raise SpecError("lighttransfer takes one of threshold, budget and by: each says in its own way which layers are cut.")
        if self.early is not None and self.early <= self.sinks + self.recent:
            raise SpecError(f"lighttransfer tells layers apart behind sinks + recent = {self.sinks + self.recent} tokens; found "
                            f"early={self.early}.")

    def share(self, length: int) -> float:
        """Of the keys of so long a text, how much a token then reads, over all layers; as `keep` has it."""
        return self.keep + (1 - self.keep) * min(1.0, (self.sinks + self.recent) / max(length, 1))

    def select(self, trace: Trace, slot: Slot, since: int = 0) -> Plan:
        """Raises SpecError for layers to cut that are not in full attention."""
        full = [layer for layer in sorted(slot.kv.patterns) if slot.pattern(layer) == FULL]
        if strange := set(self.layers) - set(full):
            raise SpecError(f"lighttransfer cannot cut layer {min(strange)}: the layers in full attention are {full}.")
        if not self.layers and slot.length <= self.sinks + self.recent:
            return {}
        return dict.fromkeys(self.layers or self._lazy(trace, slot, full), Sliding(self.recent, self.sinks, since))

    def _lazy(self, trace: Trace, slot: Slot, full: list[int]) -> list[int]:
        ratios, kept = self._ratios(trace, slot, full), round(self.keep * len(full))
        if self.threshold is not None:
            return [layer for layer, ratio in ratios if ratio > self.threshold]
        if self.budget is not None:
            ranked = sorted(ratios, key=lambda one: -one[1])
            spent = accumulate(1 - ratio for _, ratio in ranked)
            return [layer for (layer, _), total in zip(ranked, spent, strict=True) if total <= self.budget]
        return list(queued(ratios, kept)) if 0 < kept < len(full) else full[kept:]  # all or none: nothing need be measured

    def _ratios(self, trace: Trace, slot: Slot, full: list[int]) -> Ratios:
        lots, middle = random.Random(self.seed), (len(full) - 1) / 2
        for place, layer in enumerate(full):
            if self.by in ("lazy", "reversed"):
                asked, positions = trace.queries[layer][:, -self.last :], trace.positions[-self.last :]
                ratio = lazy_ratio(asked, slot.kv.read(layer, slot, 0, slot.length)[0], positions, self.sinks, self.recent)
                yield layer, ratio if self.by == "lazy" else -ratio
            else:
                yield layer, {"random": lots.random(), "uniform": place * GOLDEN % 1, "ends": abs(place - middle)}[self.by]


def queued(ratios: Ratios, full: int) -> Iterator[int]:
    """Layers to cut, each as soon as it is known; `full` of them are left, those with the smallest ratios. Of equal ones the
    first is cut.
    """
    queue: list[tuple[float, int]] = []
    for layer, ratio in ratios:
        heappush(queue, (-ratio, layer))
        if len(queue) > full:
            yield heappop(queue)[1]
