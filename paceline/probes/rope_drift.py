"""How much attention moves when all positions are shifted by the same number: nothing in exact arithmetic, a lot in bf16.

Rotary embeddings make attention depend on distances alone; rounding breaks that, most at the first token, and its scores drift
more the longer a text is. Source: "When Precision Meets Position: BFloat16 Breaks Down RoPE in Long-Context Training"
(arXiv 2411.13476), equations 4 and 5. Departure, unless `whole` is asked for: every layer gets the same input under both shifts,
so that what is seen is its own rounding and not that of the layers below.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch

from paceline.core.reading import Figure, Reading
from paceline.errors import ModelError, SpecError
from paceline.lm.trace import Seen, Subject
from paceline.probes import Watch
from paceline.probes._kept import Kept
from paceline.probes._shifted import PRECISIONS, differences, shifted, still

__all__ = ["RopeDrift"]

HOW = ("Attention that a shift of all positions moves, summed over heads: nothing in exact arithmetic. A first_share above its "
       "null level says that the first key is hit most; sinks, whether it is in the heads that look at it most.")


@dataclass(frozen=True)
class RopeDrift:
    """Attention at positions + `base` against positions + each of `shifts`, in each of the precisions `modes`, at the beginnings
    of a text that have one of these `lengths`. The paper has base 16, 19 shifts from 0 to 2,000 and lengths 64 to 8,192.

    modes: bf16 (as transformers computes), fp32-rotation (only what comes out of the rotation is rounded to bf16: the paper's),
    fp32, bf16-angles (angles rounded, too: an error of old code). Dot products and softmax are in fp32 in all of them. whole: the
    paper's own measure in their place, of the whole model as it is at other position ids, for which queries and keys of all
    layers are held. every: look at every so many-th layer only, which long texts need.
    """

    base: int = 16
    shifts: tuple[int, ...] = (0,)
    modes: tuple[str, ...] = tuple(PRECISIONS)
    lengths: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048, 4096, 8192)
    whole: bool = False
    every: int = 1

    def __post_init__(self) -> None:
        if not self.modes or not set(self.modes) <= set(PRECISIONS):
            raise SpecError(f"rope_drift has the modes {', '.join(PRECISIONS)}; found {', '.join(self.modes) or 'none'}.")
        if not self.shifts or min(self.base, *self.shifts) < 0 or min(self.every, *self.lengths, len(self.lengths)) < 1:
            raise SpecError(f"rope_drift needs base >= 0, shifts >= 0, lengths >= 1 and every >= 1; found base={self.base}, "
                            f"shifts={list(self.shifts)}, lengths={list(self.lengths)}, every={self.every}.")

    def start(self, subject: Subject) -> Watch:
        drifts = Drifts(self, subject)
        return Whole(drifts) if self.whole else drifts


class Drifts:
    """heads: of a text and layer, by head, D, its part at the first key, D_logit and the attention to that key [modes, shifts,
    lengths, 4, H]; keys: D of a key, summed over heads, mean over octaves of keys [modes, shifts, lengths, octaves]. NaN at
    lengths that a text does not have.
    """

    def __init__(self, options: RopeDrift, subject: Subject) -> None:
        self.options, self.subject, self.lengths = options, subject, sorted(options.lengths)
        self.modes = ("model",) if options.whole else options.modes
        self.heads, self.keys = Kept(), Kept()

    def layer(self, seen: Seen) -> None:
        if seen.rope is not None and seen.layer % self.options.every == 0:
            self.add(seen, by_mode(seen, self.options))

    def add(self, seen: Seen, pairs: Iterable[tuple[int, int, Seen, Seen]]) -> None:
        """Of one layer: mode, shift and the two versions to compare."""
        lengths = [length for length in self.lengths if length <= len(seen.positions)]
        if not lengths:
            return
        size, count = (len(self.modes), len(self.options.shifts), len(self.lengths)), len(octaves(self.lengths[-1]))
        heads, keys = (torch.full((*size, *of), torch.nan) for of in ((4, len(seen.q)), (count,)))
        for m, s, one, other in pairs:
            for n, found in enumerate(differences(one, other, lengths)):
                heads[m, s, n] = torch.stack([found.keys.sum(-1), found.keys[:, 0], found.logit, found.sink])
                each = by_octave(found.keys.sum(0))
                keys[m, s, n, : len(each)] = each
        self.heads.add(seen.text, seen.layer, heads)
        self.keys.add(seen.text, seen.layer, keys)

    def reading(self) -> Reading:
        """By head and by key at the longest of the lengths that any text has."""
        if not self.heads.texts:
            why = self.subject.why_no_rope() or f"no text has {self.lengths[0]} tokens"
            raise ModelError(f"Nothing can be said of the drift of {self.subject.name}: {why}.")
        heads, keys = self.heads.each.movedim(1, 5), self.keys.each.sum(1)  # [texts, modes, shifts, lengths, 4, layers, H]
        lengths = self.lengths[: int(heads[:, 0, 0, :, 0, 0, 0].isfinite().any(0).sum())]
        last, of_length = len(lengths) - 1, ("mode", "shift", "length")
        moved, first, logit, sink = heads[:, :, :, : len(lengths)].unbind(4)
        total, even = moved.sum((-1, -2)), 1 / torch.tensor(lengths)
        ticks = {"mode": self.modes, "shift": self.options.shifts, "length": lengths, "layer": self.heads.layers,
                 "key": octaves(lengths[-1])}
        by_key = keys[..., last, : len(ticks["key"])]
        correlation = rank_correlation(first[..., last, :, :], sink[..., last, :, :])
        figures: dict[str, tuple[torch.Tensor, tuple[str, ...], str, torch.Tensor | float]] = {
            "drift": (total, of_length, "attention moved", 0.0),
            "first_share": (first.sum((-1, -2)) / total, of_length, "share of the drift", even),
            "first_logit": (logit.sum((-1, -2)), of_length, "scores moved", 0.0),
            "by_head": (moved[..., last, :, :], ("mode", "shift", "layer", "head"), "attention moved", 0.0),
            "by_key": (by_key, ("mode", "shift", "key"), "attention moved", (total * even)[..., last].nanmean(0)[..., None]),
            "sinks": (correlation, ("mode", "shift"), "rank correlation", 0.0),
        }
        values = {name: Figure(each, axes, unit, null, {axis: ticks[axis] for axis in axes if axis in ticks})
                  for name, (each, axes, unit, null) in figures.items()}
        return Reading("rope_drift", values, HOW, len(self.heads.texts))


class Whole:
    """held: layer -> position of the first token -> what that layer saw of the text that is being read."""

    def __init__(self, drifts: Drifts) -> None:
        self.drifts, self.base, self.shifts = drifts, drifts.options.base, drifts.options.shifts
        self.starts = (self.base, *self.shifts)
        self.held: defaultdict[int, dict[int, Seen]] = defaultdict(dict)

    def layer(self, seen: Seen) -> None:
        if seen.layer % self.drifts.options.every == 0:
            nothing = seen.q.new_empty(0)
            self.held[seen.layer][int(seen.positions[0])] = replace(seen, v=nothing, hidden=nothing)

    def end(self, text: int) -> None:
        for at in self.held.values():
            one = at[self.base]
            self.drifts.add(one, [(0, s, one, at[shift]) for s, shift in enumerate(self.shifts)])
        self.held.clear()

    def reading(self) -> Reading:
        return self.drifts.reading()


def by_mode(seen: Seen, options: RopeDrift) -> Iterator[tuple[int, int, Seen, Seen]]:
    seen = still(seen)
    for m, mode in enumerate(options.modes):
        one = shifted(seen, options.base, PRECISIONS[mode])
        for s, shift in enumerate(options.shifts):
            yield m, s, one, shifted(seen, shift, PRECISIONS[mode])


def octaves(length: int) -> list[int]:
    """The first key of each octave: 0, 1, 2 (to 3), 4 (to 7) …"""
    return [0, *(1 << i for i in range((length - 1).bit_length()))]


def by_octave(each: torch.Tensor) -> torch.Tensor:
    """Means of values [T] over octaves."""
    starts = octaves(len(each))
    sizes = [b - a for a, b in zip(starts, [*starts[1:], len(each)], strict=True)]
    return torch.stack([part.mean() for part in each.split(sizes)])


def rank_correlation(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Spearman's, over the last two axes."""
    ranks = [x.flatten(-2).argsort(-1).argsort(-1).float() for x in (a, b)]
    a, b = (x - x.mean(-1, keepdim=True) for x in ranks)
    return (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1))
