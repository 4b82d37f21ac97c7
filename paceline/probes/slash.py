"""Slash heads: how much each query gives the key that stands a fixed distance before it, and why (Cheng, Zhang, Hou, Du et al.
2026, arXiv 2601.08297).

Such a head looks back by so many tokens whatever they say. The paper's explanation is measured beside the scores: before they
turn, its queries and its keys are nearly one vector each, so the rotary pairs alone decide, and they add up at one distance.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from paceline.core.reading import Figure, Reading
from paceline.errors import SpecError
from paceline.lm.interventions import BANDS, FASTEST, Change, drop, freeze, mask, mean, rank_one
from paceline.lm.rows import rows
from paceline.lm.trace import Seen, Subject
from paceline.probes import Watch
from paceline.probes._directions import cosine, directions, no_direction
from paceline.probes._fourier import shares, slash_law, waves
from paceline.probes._kept import Kept
from paceline.probes._stability import correlation

__all__ = ["Slash"]

CHANGES: dict[str, Change] = {f"{change.__name__} {band}": partial(change, band=band) for change in (drop, freeze)
                              for band in BANDS} | {"rank one": rank_one, "mean": mean, "mask": mask}  # fmt: skip


@dataclass(frozen=True)
class Slash:
    """lags: distances in tokens. kappa: the score from which a head counts as slash-dominant. changes: score each layer again,
    without a rotary band, with one that does not turn, with queries and keys of rank one or all equal, and with the first key
    masked. pairs: and without each single rotary pair.
    """

    lags: tuple[int, ...] = (0, 1, 2, 3, 4, 8, 16, 64)
    kappa: float = 0.1
    changes: bool = False
    pairs: bool = False

    def __post_init__(self) -> None:
        if not self.lags or min(self.lags) < 0:
            raise SpecError(f"slash:lags must be distances of 0 tokens or more; found {list(self.lags)}.")

    def start(self, subject: Subject) -> Watch:
        return SlashWatch(self, subject)


class SlashWatch:
    """Keeps a few numbers a head and lag."""

    def __init__(self, options: Slash, subject: Subject) -> None:
        self.options, self.subject = options, subject
        self.found, self.nulls = defaultdict[str, Kept](Kept), defaultdict[str, Kept](Kept)
        self.axes: dict[str, tuple[tuple[str, ...], str]] = {}

    def keep(self, seen: Seen, name: str, value: torch.Tensor, axes: tuple[str, ...], unit: str,
             null: torch.Tensor | float | None = None) -> None:
        self.found[name].add(seen.text, seen.layer, value)
        self.axes[name] = ("layer", *axes), unit
        if null is not None:
            self.nulls[name].add(seen.text, seen.layer, torch.as_tensor(null)[(None,) * bool(axes)])

    def rows(self, seen: Seen, start: int, probs: torch.Tensor) -> None:
        lags, length = self.options.lags, len(seen.positions)
        for name, skipped in (("score", False), ("score_without_first_key", True)):
            null = uniform(length, lags, seen.window, skipped) if start == 0 else None
            self.keep(seen, name, part(probs, start, length, lags, skipped), ("head", "lag"), "attention", null)

    def layer(self, seen: Seen) -> None:
        if seen.rope is None:
            return
        before = [seen.rope.unrotate(x, seen.positions) for x in (seen.q, seen.k)]
        self._directions(seen, "", before)
        if seen.biases is not None:
            self._directions(seen, "_without_bias", [x - bias[:, None] for x, bias in zip(before, seen.biases, strict=True)])
        self._waves(seen, *(x.mean(1) for x in before))
        self._cone(seen)
        if self.options.changes:
            self._changed(seen, "score_changed", "change", CHANGES.values())
        if self.options.pairs:
            without = (partial(drop, band=pair) for pair in range(len(seen.rope.frequencies)))
            self._changed(seen, "score_without_pair", "pair", without)

    def _changed(self, seen: Seen, name: str, axis: str, changes: Iterable[Change]) -> None:
        scores = torch.stack([slash_scores(change(seen), self.options.lags) for change in changes], -1)
        self.keep(seen, name, scores, ("head", "lag", axis), "attention")

    def _cone(self, seen: Seen) -> None:
        """How near to one axis lies what queries and keys are projected from; where the norm before them is known."""
        decoder = self.subject.decoder
        if decoder is not None and (norm := decoder.layers[seen.layer].before_attention) is not None:
            found = cosine(norm(seen.hidden).float())
            self.keep(seen, "hidden_cosine", found, (), "cosine", len(seen.positions) ** -0.5)

    def _directions(self, seen: Seen, suffix: str, vectors: Sequence[torch.Tensor]) -> None:
        for name, axis, x in zip(("query", "key"), ("head", "key_head"), vectors, strict=True):
            nothing = no_direction(*x.shape[1:])
            for measure, value in directions(x).items():
                self.keep(seen, f"{name}_{measure}{suffix}", value, (axis,), measure, nothing.get(measure))

    def _waves(self, seen: Seen, q: torch.Tensor, k: torch.Tensor) -> None:
        """Of mean vectors."""
        assert seen.rope is not None
        length, lags = len(seen.positions), self.options.lags
        found = waves(q, k.repeat_interleave(seen.groups, 0), seen.rope, seen.scale, seen.cap)
        self.keep(seen, "coefficient", torch.view_as_real(found.coefficients), ("head", "pair", "part"), "nats")
        self.keep(seen, "wavelength", (2 * math.pi / seen.rope.frequencies).nan_to_num(posinf=math.nan), ("pair",), "tokens")
        self.keep(seen, "band", shares(found, length), ("head", "band"), "share of amplitudes")
        predicted = slash_law(found, length, lags, seen.window)
        self.keep(seen, "predicted", predicted, ("head", "lag"), "attention")
        logits = found.at(torch.tensor(lags, dtype=torch.long, device=q.device))
        self.keep(seen, "predicted_logit", logits, ("head", "lag"), "nats")

    def reading(self) -> Reading:
        made = {name: self._figure(name) for name in self.found}
        score = made["score"]
        made["lift"] = replace(score, each=score.each / self.nulls["score"].each, unit="times the null level", null=1.0)
        if "coefficient" in made:
            made |= explained(made.pop("coefficient"), made["predicted"], score)
        how = ("A score is the mean attention of a query to the key that many tokens before it; where it is far above its null "
               "level, that of attention spread evenly, the head looks there whatever the tokens are.")
        return Reading("slash", made, how, len(score.each), tuple(self._notes(score)))

    def _figure(self, name: str) -> Figure:
        (axes, unit), kept = self.axes[name], self.found[name]
        marks: dict[str, Sequence[Any]] = {"layer": kept.layers, "lag": self.options.lags, "band": BANDS, "change": list(CHANGES)}
        null = self.nulls[name].each.mean(0) if name in self.nulls else None
        return Figure(kept.each, axes, unit, null, {axis: marks[axis] for axis in axes if axis in marks})

    def _notes(self, score: Figure) -> Iterator[str]:
        counted = partial(dominant, kappa=self.options.kappa)
        counts = zip(self.options.lags, *(x.int().tolist() for x in (counted(score.each), *score.interval(counted))), strict=True)
        each = ", ".join(f"{count} ({low} to {high}) at lag {lag}" for lag, count, low, high in counts)
        yield f"Of {score.mean[..., 0].numel()} heads, so many score at least {self.options.kappa:g}: {each}."
        yield f"Rotary bands by wavelength: high up to {FASTEST} tokens, low at least the text's length, medium between."
        if why := self.subject.why_no_rope():
            yield f"Scores alone, without what explains them, where a layer's rotation is not known: {why}."


def dominant(scores: torch.Tensor, kappa: float = 0.1) -> torch.Tensor:
    """How many heads have a mean score of at least kappa, for each lag, of scores [texts, layers, heads, lags]."""
    return (scores.nanmean(0) >= kappa).flatten(0, 1).float().sum(0)


def explained(coefficient: Figure, predicted: Figure, score: Figure) -> dict[str, Figure]:
    """Amplitudes, phases (of the mean over texts), and how well the predicted scores follow the measured ones over the lags."""
    pairs = replace(coefficient, axes=coefficient.axes[:-1])
    phase = torch.view_as_complex(coefficient.each.mean(0, keepdim=True)).angle()
    rotating = [score.ticks["layer"].index(layer) for layer in predicted.ticks["layer"]]
    agreement = correlation(predicted.each, score.each[:, rotating])
    return {"amplitude": replace(pairs, each=coefficient.each.norm(dim=-1)), "phase": replace(pairs, each=phase, unit="radians"),
            "agreement": Figure(agreement, score.axes[:-1], "correlation over lags", 0.0, predicted.ticks)}


def slash_scores(seen: Seen, lags: Sequence[int], skip_first_key: bool = False) -> torch.Tensor:
    """The paper's average slash scores [Hq, lags]: the mean, over queries that have a key so many tokens before them, of the
    attention they give it; NaN where none has. skip_first_key: leave out the query whose key is the first, since a sink there
    scores 1 / (T - lag) at every lag.
    """
    blocks = [part(probs, start, len(seen.positions), lags, skip_first_key) for start, probs in rows(seen)]
    return torch.stack(blocks).sum(0)


def part(probs: torch.Tensor, start: int, length: int, lags: Sequence[int], skip_first_key: bool = False) -> torch.Tensor:
    """What a block of rows [Hq, R, start + R] adds to the scores [Hq, lags] of a text of so many tokens."""
    sums = []
    for lag in lags:
        row = max(lag + skip_first_key, start)  # the first of them that counts
        diagonal = probs[:, row - start :].diagonal(row - lag, 1, 2)
        sums.append(diagonal.sum(-1) / max(length - lag - skip_first_key, 0))
    return torch.stack(sums, -1)


def uniform(length: int, lags: Sequence[int], window: int | None = None, skip_first_key: bool = False) -> torch.Tensor:
    """The slash scores [lags] of attention spread evenly over the keys a query sees: (H_T - H_lag) / (T - lag) where it sees
    all, with harmonic numbers H.
    """
    seen = window or length
    even = 1 / torch.arange(1, length + 1, dtype=torch.float32).clamp_max(seen)
    return torch.stack([even[lag + skip_first_key :].mean() * (lag < seen) for lag in lags])
