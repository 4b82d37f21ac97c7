"""The target itself drafts, looking at few of its own keys (Sparse-to-Dense, Zhang, Du et al. 2025, arXiv 2505.19155).

Behind a long prompt a plain step mostly reads keys. Few of them carry the attention, so the same weights with a compact copy of
those draft at a fraction of the cost, and one forward with all keys verifies. No second model and no training. Which keys matter
is told once, by what the kept text asks in the prefill that runs anyway (section 3.1); drafted tokens stand at their true
positions; after each round the copy takes over the exact keys of what was committed.

With a selector that chooses layers (`selector=lighttransfer:keep=0.25`) the copy is a hybrid model's: some layers with all keys,
the lazy ones with the first and the last. That model's text would be another one; as a draft it costs nothing of the target's.

Departures: one set of keys for each key head, where the paper leaves open for whom (`heads=false`: for a layer); sampling is
exact; chains end where the draft's own confidence says so, at measured prices, and nothing is drafted where the copy saves too
little; the keys can be chosen anew by what the verifying forwards ask, where acceptance has become low.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from paceline import plugins
from paceline.core.row import Row
from paceline.core.trace import Trace
from paceline.drafters._follow import Follower, check
from paceline.errors import SpecError
from paceline.lm import LM, Slot
from paceline.lm.cost import behind
from paceline.lm.kv import FULL, slot_of
from paceline.patterns import Pattern

__all__ = ["SparseSelf"]

SPARSE = 0.5  # a copy of more than this share of the text saves too little to be tried
TRIED = 4  # further tokens a row over which the cost of verifying one is taken
REST, EASE = 8, 0.7  # rounds between two choices of keys; how much of the old scores or of the old acceptance stays


@dataclass(frozen=True)
class SparseSelf:
    """keys: how many of the prompt's keys are copied in each layer, beside those of the text to keep (`Request.keep`). length:
    most drafted tokens of the chain. selector: what tells which keys matter, or which layers need few, by its own measure.
    heads: a choice for each key head rather than for a layer. refresh: choose anew where the share of drafted tokens that is
    accepted has fallen below it; 0 = never. branch: candidates per position, 1 = a chain. beam: paths kept at each depth of a
    tree, 0 = none. drawn: draw the chain under sampling. worth: draft while a path is expected to be accepted with at least
    this probability: 0 = always `length` tokens, None = the measured cost.
    """

    keys: int = 512
    length: int = 9
    selector: Any = "topk"
    heads: bool = True
    refresh: float = 0.66
    branch: int = 1
    beam: int = 0
    drawn: bool = True
    worth: float | None = None

    def __post_init__(self) -> None:
        check("sparse_self", self)
        if self.keys < 0 or not 0 <= self.refresh <= 1:
            raise SpecError(f"sparse_self needs keys >= 0 and 0 <= refresh <= 1; found keys={self.keys}, refresh={self.refresh}.")

    def attach(self, lm: LM) -> Follower:
        """The target at work beside itself."""
        return Follower(self, lm, lm, "sparse_self", borrowed=SparseKV(self, lm))


@dataclass
class Chosen:
    """What one row's copy holds: of the first `base` tokens those chosen by `scores` (of a layer, [G, base]), then all up to
    `length`. taken: share of drafted tokens accepted of late. since: the round of the last choice.
    """

    base: int
    length: int = 0
    taken: float = 1.0
    since: int = 0
    scores: dict[int, torch.Tensor] = field(default_factory=dict)


class SparseKV:
    """Copies of few keys, in slots that hold them in the order of the text and go on at its true position."""

    def __init__(self, options: SparseSelf, lm: LM) -> None:
        self.options, self.lm = options, lm
        self.selector = plugins.make("selector", options.selector)
        self.plans = hasattr(self.selector, "select")  # and scores no keys
        self.asks = True  # from the prefill on
        self.prices: dict[tuple[int, int], float] = {}
        self._rows: dict[int, Chosen] = {}

    # -- what it costs ---------------------------------------------------------------------------------------------------

    def price(self, rows: Sequence[Row]) -> float:
        """A step on few keys and one more token to verify, as a share of a step on all: measured behind these very texts, for
        each power of two of their length. Where a row samples, as computed from the bytes that are read, so that a seed's text
        does not depend on measurements.
        """
        whole, few = (max(sizes) for sizes in zip(*map(self._sizes, rows), strict=True))
        if few >= SPARSE * whole:
            return 1.0
        if not all(row.request.sampling.greedy for row in rows):
            return self._computed(rows, whole, few)
        key = whole.bit_length(), len(rows)
        if key not in self.prices:
            self.prices[key] = self._measured([slot_of(row) for row in rows], few)
        return self.prices[key]

    def _sizes(self, row: Row) -> tuple[int, int]:
        """Keys of all the text, and of the copy."""
        if self.plans:
            return len(row.tokens), round(self.selector.share(len(row.tokens)) * len(row.tokens))
        return len(row.tokens), self.options.keys + len(row.request.kept) + len(row.tokens) - row.prompt_len

    def _computed(self, rows: Sequence[Row], whole: int, few: int) -> float:
        token = len(rows) * slot_of(rows[0]).token_bytes
        return (self.lm.weight_bytes + token * few) / (self.lm.weight_bytes + token * whole)

    def _measured(self, slots: Sequence[Slot], few: int) -> float:
        kv = self.lm.cache()
        copies = [kv.take() for _ in slots]
        for copy in copies:
            copy.length = few  # what the keys hold matters to no time
        plain = behind(self.lm, slots, 1)
        return behind(self.lm, copies, 1) / plain + max(0.0, behind(self.lm, slots, 1 + TRIED) / plain - 1) / TRIED

    # -- what it holds ---------------------------------------------------------------------------------------------------

    def renew(self, row: Row, slot: Slot) -> bool:
        """The copy up to all tokens but the pending one: chosen keys where it is new or to be chosen anew, then the exact keys of
        what was committed since, which also replace those that drafting left.
        """
        shown = None if row.last is None else row.last.captured.get("queries")
        chosen = self._rows.get(row.id)
        if chosen is None:
            asked = row.trace if row.trace is not None and row.trace.queries else shown
            if asked is None:
                self.asks = True
                return False
            chosen = self._rows[row.id] = Chosen(base=row.prompt_len - 1, since=row.stats.rounds)
            self._choose(row, slot, chosen, asked)
        elif self._is_stale(row, chosen) and shown is not None:
            chosen.since = row.stats.rounds
            self._choose(row, slot, chosen, shown)
        self.asks = self.asks or chosen.taken < self.options.refresh
        slot.kv.crop(slot, chosen.length)
        chosen.length = len(row.tokens) - 1
        slot.kv.copy(slot_of(row), slot, chosen.length)
        return True

    def forget(self, row: Row) -> None:
        self._rows.pop(row.id, None)

    def _is_stale(self, row: Row, chosen: Chosen) -> bool:
        """Whether acceptance has become low since the keys were chosen."""
        if row.last is not None and (drafted := len(row.last.proposal)):
            share = len(row.last.verdict.path) / drafted
            chosen.taken = EASE * chosen.taken + (1 - EASE) * share
        return chosen.taken < self.options.refresh and row.stats.rounds - chosen.since >= REST

    def _choose(self, row: Row, slot: Slot, chosen: Chosen, asked: Trace) -> None:
        """Fill the copy with the best keys of the prompt. A second choice scores by both what the text and what later tokens
        asked.
        """
        kept = torch.tensor(sorted(i for i in row.request.kept if i < chosen.base), dtype=torch.long, device="cpu")
        free = torch.ones(chosen.base, dtype=torch.bool, device="cpu")
        free[kept] = False
        count = min(self.options.keys, int(free.sum()))
        own, old = slot_of(row), chosen.scores or None
        chosen.scores, chosen.length = {}, chosen.base
        slot.held, slot.plan = {}, {**own.plan, **(self.selector.select(asked, own) if self.plans else {})}
        slot.kv.restart(slot, chosen.base)
        for layer in sorted(own.kv.patterns):
            pattern = slot.plan.get(layer) or own.pattern(layer)
            if pattern != FULL:
                most = chosen.base if self.plans else count + len(kept)
                slot.kv.fill(layer, slot, last_keys(own, layer, pattern, chosen.base, most), pattern)
                continue
            held = own.kv.read(layer, own, 0, chosen.base)
            if not self.plans:
                scores = self._scores(asked, layer, held[0])
                chosen.scores[layer] = scores if old is None else EASE * old[layer] + (1 - EASE) * scores
                index = best(chosen.scores[layer], free.to(scores.device), count, kept)
                held = held.gather(2, index[None, :, :, None].expand(2, held.shape[1], -1, held.shape[3]))
            slot.kv.fill(layer, slot, held, pattern)

    def _scores(self, asked: Trace, layer: int, keys: torch.Tensor) -> torch.Tensor:
        """What the selector says, [G or 1, n], so that each choice adds up to 1 in its weight."""
        scores = self.selector(asked, layer, keys) if keys.shape[1] else keys[:, :, 0]
        scores = scores if self.options.heads else scores.mean(0, keepdim=True)
        return scores / len(asked.positions)


def last_keys(own: Slot, layer: int, pattern: Pattern, stop: int, most: int) -> torch.Tensor:
    """Of the first `stop` tokens, what a layer's pattern lets the next one see, with at most so many last ones; where they were
    dropped, none: later ones are then taken over whole.
    """
    sinks, start = pattern.keep(stop)
    start = min(stop, max(start, stop - most, own.kv.start(layer, own)))
    return torch.cat((own.kv.read(layer, own, 0, min(start, sinks)), own.kv.read(layer, own, start, stop)), 2)


def best(scores: torch.Tensor, free: torch.Tensor, count: int, kept: torch.Tensor) -> torch.Tensor:
    """Ascending positions [G, count + len(kept)]: the `count` best of the free ones, and those to keep."""
    chosen = scores.masked_fill(~free, -torch.inf).topk(count).indices
    return torch.cat((chosen, kept.to(chosen).expand(len(chosen), -1)), 1).sort(1).values


def tiny(lm: LM) -> SparseSelf:
    return SparseSelf(keys=4, length=3, worth=0.0)
