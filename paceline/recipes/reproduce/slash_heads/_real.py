"""Slash heads of a model that others trained: how many, and whether what the paper says of them holds, with intervals over texts."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from paceline.core.reading import Figure, Reading, Statistic
from paceline.probes._stability import correlation, ranks, stability
from paceline.probes.slash import dominant
from paceline.report.look import Config as Look
from paceline.report.look import look

__all__ = ["CHANGES", "real"]

LAGS = (*range(17), 32, 64, 128)
KAPPA = 0.1  # from this score on a head is slash-dominant, as in the paper
CHANGES = ("drop low", "drop medium", "drop high", "rank one", "mean")
MAPPED, SHOWN = 4, 24  # texts that are read without each single pair; heads that are shown


def real(model: str, prompts: str | None, texts: int, length: int) -> dict[str, Any]:
    """What was found. prompts: as `paceline probe` takes them."""
    def looked(spec: str, count: int, random: bool = False) -> Reading:
        return look(Look(model, (spec,), prompts, length, count, random)).readings[0]

    lags = [lag for lag in LAGS if lag < length]
    given = looked(f"slash:lags={lags},changes=true", texts)
    other = looked(f"slash:lags={lags}", texts, random=True)
    score, at = given.values["score"], given.values["score"].mean
    ends = [x.int().tolist() for x in score.interval(dominant)]
    counts = {lag: [int(count), *both] for lag, count, *both in zip(lags, dominant(score.each), *ends, strict=True)}
    kept = {found.lag: found.overlap for found in stability(given, other, KAPPA)}
    found = {lag: of_lag(given, other, lag) | {"overlap": kept[lag], "best": float(at[..., lags.index(lag)].max())}
             for lag, (count, *_) in counts.items() if count and lag}
    return {"model": model, "length": length, "texts": given.texts, "heads": at[..., 0].numel(), "counts": counts, "lags": found,
            "ranks": ranked(given.values), "directions": directions(given.values),
            "pairs": pairs(looked("slash:lags=[1],pairs=true", min(MAPPED, texts)).values)}


def of_lag(given: Reading, other: Reading, lag: int) -> dict[str, Any]:
    """Of the heads that are dominant there on the texts: their scores on random tokens and with changes, as shares of their own;
    what spread evenly would be; how many of their distances mean vectors tell, and tell within one.
    """
    values = given.values
    score, place = values["score"], list(values["score"].ticks["lag"]).index(lag)
    here = score.mean[..., place] >= KAPPA
    own, random = (reading.values["score"].each[..., place][:, here] for reading in (given, other))
    changed = values["score_changed"].each[..., place, :][:, here].unbind(-1)
    named = dict(zip(values["score_changed"].ticks["change"], changed, strict=True))
    told = values["predicted"].mean[here]
    apart = (torch.tensor(score.ticks["lag"])[told.nan_to_num(-1).argmax(-1)] - lag).abs()
    return {"heads": int(here.sum()), "lift": float(values["lift"].mean[..., place][here].mean()), "random": share(random, own),
            "keep": float((random.mean(0) >= 0.7 * own.mean(0)).float().mean()), "told": int((apart == 0).sum()),
            "near": int((apart <= 1).sum()), "changed": {name: share(named[name], own) for name in CHANGES}}


def share(changed: Tensor, own: Tensor) -> dict[str, float]:
    """Mean of scores [texts, heads] over the mean of others."""
    return bounded(torch.stack((changed, own), -1), lambda each: each.mean((0, 1))[0] / each.mean((0, 1))[1])


def ranked(values: dict[str, Figure]) -> dict[str, dict[str, float]]:
    """Rank correlation over all heads of the score at distance 1 with rank-one energies, of queries, of keys, of both together."""
    score = values["score"].each[..., list(values["score"].ticks["lag"]).index(1)]
    query, key = energies(values)
    return {name: bounded(torch.stack((score, energy), -1), correlated)
            for name, energy in (("queries", query), ("keys", key), ("both", query * key))}


def correlated(each: Tensor) -> Tensor:
    a, b = each.mean(0).flatten(0, 1).T
    return correlation(ranks(a), ranks(b))


def energies(values: Any, measure: str = "energy") -> tuple[Tensor, Tensor]:
    """Of the queries and the keys of every query head."""
    query, key = (values[f"{name}_{measure}"].each for name in ("query", "key"))
    return query, key.repeat_interleave(query.shape[-1] // key.shape[-1], -1)


def directions(values: dict[str, Figure]) -> dict[str, Any]:
    """Medians over slash heads and over others of the first direction's share of the energy and of the mean's, with null levels; and
    by layer, how near to one axis lies what they are projected from, where that is known.
    """
    here = (values["score"].mean[..., 1:] >= KAPPA).any(-1)
    found: dict[str, Any] = {"cone": values["hidden_cosine"].mean.tolist() if "hidden_cosine" in values else None}
    for measure in ("energy", "mean_energy"):
        each = [x.mean(0) for x in energies(values, measure)]
        found[measure] = {"slash": [float(x[here].median()) for x in each], "others": [float(x[~here].median()) for x in each],
                          "null": float(values[f"query_{measure}"].null.mean())}
    return found


def pairs(values: dict[str, Figure]) -> dict[str, Any]:
    """Of the heads with the best scores at distance 1, what each rotary pair adds to it: the score less that without the pair."""
    score = values["score"].mean[..., 0]
    best = score.flatten().argsort(descending=True)[:SHOWN]
    added = (score[..., None] - values["score_without_pair"].mean[..., 0, :]).flatten(0, 1)[best]
    return {"heads": [f"{int(i) // score.shape[1]}.{int(i) % score.shape[1]}" for i in best],
            "wavelength": [round(x, 1) for x in values["wavelength"].mean[0].tolist()],
            "added": [[round(x, 3) for x in row] for row in added.tolist()]}


def bounded(each: Tensor, statistic: Statistic) -> dict[str, float]:
    """A statistic of [texts, …] with its interval over texts."""
    low, high = Figure(each, (), "").interval(statistic)
    return {"value": float(statistic(each)), "low": float(low), "high": float(high)}
