"""What the doctor's report says of each candidate and of the whole: figures from rounds and runs. Knows no terminal."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from paceline.bench.machine import describe
from paceline.bench.metrics import ratio, share
from paceline.bench.noise import against_itself, impossible
from paceline.bench.timing import Group, Runs, rounds, table
from paceline.doctor.advice import verdict
from paceline.doctor.costs import Curve, Noted, key_bytes, weights_of
from paceline.doctor.model import Spent, modelled, tallied
from paceline.doctor.runs import Candidate
from paceline.engine.timing import peak_memory
from paceline.lm import LM

__all__ = ["Known", "figures", "plain_figures", "whole"]

Known = dict[Candidate, tuple[list[list[Noted]], list[Spent]]]


def figures(lm: LM, candidate: Candidate, known: Known, runs: dict[str, Runs]) -> dict[str, Any]:
    """One candidate: the prediction and its acceptance length from the calibration half, the measured ones from the other."""
    calls, took = known[candidate]
    plain = _plain(known)
    expected = modelled(known[plain][1], took)
    mine, theirs = runs[candidate.name], runs[plain.name]
    every = range(len(mine.batches))
    measured = ratio(table(mine, every), table(theirs, every), rounds(mine, every))
    stats = [s for g in every for s in mine.stats(g)]
    return {
        "drafter": candidate.spec, "budget": candidate.budget,
        "acceptance_length": ratio(rounds(mine, every), rounds(theirs, every)),  # a round of plain decoding gives one token
        "modelled_acceptance_length": expected["length"], "accept_per_position": positions(calls),
        "drafted_per_round": sum(r.outcome.drafted for call in calls for r in call) / sum(map(len, calls)),
        "modelled": expected["whole"], "modelled_without_prefill": expected["decoding"], "measured": measured,
        "prediction_error": abs(expected["whole"]["value"] / measured["value"] - 1),
        "above_acceptance": impossible(mine, theirs, every),
        "identical": share([a == b for g in every for a, b in zip(mine.tokens(g), theirs.tokens(g), strict=True)]),
        "looping": share([mine.loops(g) for g in every]), "round": tallied(known[plain][1], took),
        "weight_bytes": sum(weights_of(d, lm) for d in candidate.drafters),
        "failures": sorted({failure for s in stats for failure in s.failures}),
    }  # fmt: skip


def positions(calls: Sequence[Sequence[Noted]]) -> list[float]:
    """Share of all rounds that accepted a token at depth 1, 2, …"""
    accepted = [r.outcome.accepted for call in calls for r in call]
    depth = max(map(len, accepted), default=0)
    return [float(np.mean([len(a) > i and bool(a[i]) for a in accepted])) for i in range(depth)]


def plain_figures(known: tuple[list[list[Noted]], list[Spent]], runs: Runs, groups: Sequence[Group]) -> dict[str, Any]:
    """Plain decoding: seconds of a round (a row's share of it), how much of all time the prefill takes, and, of the `prompts`
    of the check, how fast it was against itself (`noise`).
    """
    took = known[1]
    whole = sum(s.prefill + s.verify + s.host for s in took)
    seconds, tokens = table(runs, range(len(groups))).sum(0)
    return {"round_seconds": sum(s.verify + s.host for s in took) / sum(s.rounds for s in took),
            "host_share": sum(s.host for s in took) / whole, "prefill_share": sum(s.prefill for s in took) / whole,
            "tokens_per_second": float(tokens / seconds), "prompts": sum(len(g.prompts) for g in groups),
            "noise": against_itself(runs)}


def _plain(known: Known) -> Candidate:
    return next(c for c in known if c.budget == 0)


def whole(config: Any, lm: LM, costs: Curve, found: Sequence[dict[str, Any]], skipped: Sequence[dict[str, str]]) -> Any:
    """The report. found: what came of each number of rows."""
    judged = [c for f in found for c in f["candidates"]]
    report: dict[str, Any] = {
        "machine": describe(), "model": lm.describe(), "settings": asdict(config), "grown": config.grow is not None,
        "node_budgets": sorted({c["budget"] for c in judged}),
        "cost": {"prefix": costs.prefix, "branching": costs.branching / costs.at(1, 1),
                 "relative": {str(rows): {str(n): v for n, v in costs.relative(rows).items()} for rows in costs.seconds},
                 "seconds": {str(rows): {str(n): s for n, s in sizes.items()} for rows, sizes in costs.seconds.items()}},
        "plain": {str(f["rows"]): f["plain"] for f in found},
        "memory": {"weight_bytes": lm.weight_bytes, "key_bytes_per_token": key_bytes(lm), "peak_bytes": peak_memory()},
        "candidates": judged,
        "skipped": [*skipped, *{s["why"]: s for f in found for s in f["same"]}.values()],
        "median_prediction_error": statistics.median(c["prediction_error"] for c in judged) if judged else None,
    }  # fmt: skip
    return report | {"verdicts": [verdict(report, rows) for rows in config.rows]}
