"""Interventions: a head attends with something else than what the model made, and the rest of the model goes on from there.

Each is a function of what a layer's attention was given, so the same ones change a whole forward (`intervene`) and one layer's
scores alone. A rotary band is a set of pairs told by their wavelength 2 pi / frequency against the text: "high" turns at least
once in 16 tokens, "low" not once in the whole text, "medium" is between (cut points of our own); a number is that one pair.
"""

import copy
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from torch.nn.functional import cross_entropy

from paceline.core.reading import Figure, Reading
from paceline.errors import ModelError, RequestError, SpecError
from paceline.lm.rotary import Rope
from paceline.lm.seen import Seen
from paceline.lm.trace import Subject, subject

__all__ = ["BANDS", "FASTEST", "Band", "Change", "cost", "drop", "freeze", "intervene", "loss", "mask", "mean", "of_band",
           "rank_one", "zero"]

Band = Literal["high", "medium", "low", "all"]
Change = Callable[[Seen], Seen]

BANDS: tuple[Band, ...] = ("high", "medium", "low")
FASTEST = 16  # tokens: the longest wavelength of the high band
CHUNK = 256  # tokens whose logits are turned into losses at once


@contextmanager
def intervene(model: Any, change: Callable[..., Seen], heads: Collection[tuple[int, int]] | None = None,
              **options: Any) -> Iterator[Subject]:
    """The model, changed, as something to look at: `probe` and `loss` take it. Nothing of the model itself is touched, and at the
    end of the block what was given is the unchanged model again.

    model: as `probe` takes it, also what an outer `intervene` gave. change: a function of this file (drop, freeze, rank_one,
    mean, zero, mask), options: its own. heads: (layer, query head) pairs; None = all. Raises ModelError for heads that the model
    does not have.
    """
    given = subject(model)
    layers, count = given.settings.num_hidden_layers, given.settings.num_attention_heads
    if bad := [head for head in heads or () if not (0 <= head[0] < layers and 0 <= head[1] < count)]:
        raise ModelError(f"{given.name} has {layers} layers of {count} query heads, numbered from 0; found none at {bad[0]}.")
    changed = copy.copy(given)
    changed.changes = (*given.changes, partial(in_heads, change=partial(change, **options), heads=heads))
    try:
        yield changed
    finally:
        changed.changes = given.changes


def in_heads(seen: Seen, change: Change, heads: Collection[tuple[int, int]] | None) -> Seen:
    """The change in these heads alone; query heads that share keys get keys of their own."""
    if heads is None:
        return change(seen)
    if not (here := [head for layer, head in heads if layer == seen.layer]):
        return seen
    picked = torch.zeros(len(seen.q), dtype=torch.bool, device=seen.q.device)
    picked[here] = True

    def joined(new: torch.Tensor, old: torch.Tensor) -> torch.Tensor:
        new, old = (x.repeat_interleave(len(picked) // len(x), 0) for x in (new, old))
        return torch.where(picked.view(-1, *[1] * (old.dim() - 1)), new, old)

    other, none = change(seen), torch.zeros_like(seen.q[..., 0], dtype=torch.bool)
    masked = joined(*(none if x.masked is None else x.masked for x in (other, seen)))
    return replace(seen, q=joined(other.q, seen.q), k=joined(other.k, seen.k), v=joined(other.v, seen.v), masked=masked)


def drop(seen: Seen, *, band: Band | int = "all") -> Seen:
    """Scores without what the pairs of a band add to them."""
    rope = rotation(seen)
    return replace(seen, q=rope.turned(seen.q, (~of_band(rope, len(seen.positions), band)).float()))


def freeze(seen: Seen, *, band: Band | int = "all") -> Seen:
    """Scores of queries and keys in which the pairs of a band do not turn."""
    rope = rotation(seen)
    angles = rope.angles(seen.positions) * of_band(rope, len(seen.positions), band)
    back = torch.polar(torch.ones_like(angles), -angles)
    return replace(seen, q=rope.turned(seen.q, back), k=rope.turned(seen.k, back))


def rank_one(seen: Seen) -> Seen:
    """Queries and keys that, before they turn, are multiples of one vector a head: the nearest such ones (the first singular
    direction of [T, D], not centred).
    """
    return before_turning(seen, nearest_rank_one)


def mean(seen: Seen) -> Seen:
    """Queries and keys that, before they turn, are the head's mean vector at every token."""
    return before_turning(seen, lambda x: x.mean(-2, keepdim=True).expand_as(x))


def zero(seen: Seen) -> Seen:
    """Heads that write nothing."""
    return replace(seen, v=torch.zeros_like(seen.v))


def mask(seen: Seen, *, key: int = 0) -> Seen:
    """No query behind this key sees it; a sink is the first key."""
    masked = torch.zeros((len(seen.q), len(seen.positions)), dtype=torch.bool, device=seen.q.device)
    masked[:, key : key + 1] = True
    return replace(seen, masked=masked if seen.masked is None else masked | seen.masked)


def before_turning(seen: Seen, change: Callable[[torch.Tensor], torch.Tensor]) -> Seen:
    rope = rotation(seen)
    q, k = (rope.rotate(change(rope.unrotate(x, seen.positions)), seen.positions) for x in (seen.q, seen.k))
    return replace(seen, q=q, k=k)


def nearest_rank_one(x: torch.Tensor) -> torch.Tensor:
    """Of matrices [..., T, D]."""
    first = torch.linalg.eigh(x.mT @ x)[1][..., -1:]
    return x @ first @ first.mT


def rotation(seen: Seen) -> Rope:
    if seen.rope is None:
        raise ModelError("This intervention needs rotary positions; found none, or of a kind that is not known, in layer "
                         f"{seen.layer}.")
    return seen.rope


def of_band(rope: Rope, length: int, band: Band | int) -> torch.Tensor:
    """Which pairs [P] belong to a band, for texts of so many tokens. Raises SpecError for a name or number that is none."""
    pairs = torch.arange(len(rope.frequencies), dtype=torch.long, device=rope.frequencies.device)
    if band not in (*BANDS, "all", *range(len(pairs))):
        raise SpecError(f"band must be one of {', '.join(BANDS)} and all, or a pair from 0 to {len(pairs) - 1}; found {band!r}.")
    if isinstance(band, int):
        return pairs == band
    waves = 2 * math.pi / rope.frequencies
    high, low = waves <= FASTEST, (waves >= length) & (waves > FASTEST)
    return {"high": high, "low": low, "medium": ~(high | low), "all": torch.ones_like(high)}[band]


def cost(given: Subject, changed: Subject, texts: Sequence[Sequence[int]]) -> Reading:
    """Each text's loss, in nats a token, by the model as given, by the changed one, and the difference. Raises RequestError for
    a text of fewer than two tokens.
    """
    found = [[loss(of, ids) for of in (given, changed)] for ids in texts]
    plain, other = torch.tensor(found, dtype=torch.float32, device="cpu").T
    figures = {"plain": Figure(plain, (), "nats a token"), "changed": Figure(other, (), "nats a token"),
               "cost": Figure(other - plain, (), "nats a token", 0.0)}
    return Reading("loss", figures, "The cost is what the model's loss rises by; at 0 it does as well when changed.", len(texts))


def loss(of: Subject, tokens: Sequence[int]) -> float:
    """Mean over all tokens but the first of -log p, in nats."""
    if len(tokens) < 2:
        raise RequestError(f"A loss needs a text of at least 2 tokens; found one of {len(tokens)}.")
    logits, wanted = of.logits(tokens), torch.tensor(list(tokens[1:]), dtype=torch.long, device=of.device)
    parts = zip(logits[:-1].split(CHUNK), wanted.split(CHUNK), strict=True)
    return sum(float(cross_entropy(a.float(), b, reduction="sum")) for a, b in parts) / len(wanted)
