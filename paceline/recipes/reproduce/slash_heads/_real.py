"""Slash heads of a model that others trained: how many, and whether what the paper says of them holds; intervals over texts."""

from __future__ import annotations

from collections.abc import Mapping
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
    shares = bounded(torch.stack((random, *(named[name] for name in CHANGES), own), -1), of_last)
    told = values["predicted"].mean[here]
    apart = (torch.tensor(score.ticks["lag"])[told.nan_to_num(-1).argmax(-1)] - lag).abs()
    return {"heads": int(here.sum()), "lift": float(values["lift"].mean[..., place][here].mean()), "random": shares[0],
            "keep": float((random.mean(0) >= 0.7 * own.mean(0)).float().mean()), "told": int((apart == 0).sum()),
            "near": int((apart <= 1).sum()), "changed": dict(zip(CHANGES, shares[1:], strict=True))}


def of_last(each: Tensor) -> Tensor:
    """Means of scores [texts, heads, n] as shares of the last one's, [n - 1]."""
    means = each.mean((0, 1))
    return means[:-1] / means[-1]


def ranked(values: Mapping[str, Figure]) -> dict[str, dict[str, float]]:
    """Rank correlation over all heads of the score at distance 1 with the rank-one energy of queries, of keys, of both."""
    score = values["score"].each[..., list(values["score"].ticks["lag"]).index(1)]
    query, key = energies(values)
    found = bounded(torch.stack((query, key, query * key, score), -1), with_last)
    return dict(zip(("queries", "keys", "both"), found, strict=True))


def with_last(each: Tensor) -> Tensor:
    """Rank correlations [n - 1] of means over texts, of [texts, layers, heads, n], with the last one's."""
    places = ranks(each.mean(0).flatten(0, 1).T)
    return correlation(places[:-1], places[-1:])


def energies(values: Mapping[str, Figure], measure: str = "energy") -> tuple[Tensor, Tensor]:
    """Of the queries and the keys of every query head."""
    query, key = (values[f"{name}_{measure}"].each for name in ("query", "key"))
    return query, key.repeat_interleave(query.shape[-1] // key.shape[-1], -1)


def directions(values: Mapping[str, Figure]) -> dict[str, Any]:
    """Medians over slash heads and over others of the first direction's share of the energy, and of the mean's, with null levels;
    and by layer, how near to one axis lies what they are projected from, where that is known.
    """
    here = (values["score"].mean[..., 1:] >= KAPPA).any(-1)
    found: dict[str, Any] = {"cone": values["hidden_cosine"].mean.tolist() if "hidden_cosine" in values else None}
    for measure in ("energy", "mean_energy"):
        each = [x.mean(0) for x in energies(values, measure)]
        found[measure] = {"slash": [float(x[here].median()) for x in each], "others": [float(x[~here].median()) for x in each],
                          "null": float(torch.as_tensor(values[f"query_{measure}"].null).mean())}
    return found


def pairs(values: Mapping[str, Figure]) -> dict[str, Any]:
    """Of the heads with the best scores at distance 1, what each rotary pair adds to it: the score less that without the pair."""
    score = values["score"].mean[..., 0]
    best = score.flatten().argsort(descending=True)[:SHOWN]
    added = (score[..., None] - values["score_without_pair"].mean[..., 0, :]).flatten(0, 1)[best]
    return {"heads": [f"{int(i) // score.shape[1]}.{int(i) % score.shape[1]}" for i in best],
            "wavelength": [round(x, 1) for x in values["wavelength"].mean[0].tolist()],
            "added": [[round(x, 3) for x in row] for row in added.tolist()]}


def bounded(each: Tensor, statistic: Statistic) -> list[dict[str, float]]:
    """Values of a statistic of [texts, …], with their intervals over texts."""
    ends = Figure(each, (), "").interval(statistic)
    found = zip(statistic(each).tolist(), *(x.tolist() for x in ends), strict=True)
    return [dict(zip(("value", "low", "high"), bounds, strict=True)) for bounds in found]
