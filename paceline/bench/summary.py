"""From timed runs to the figures that `--json` writes. Pure; names are vLLM's spec_decode ones where they exist."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from paceline.bench.metrics import accept_per_position, expected_speedup, first_divergence, mean_ratio, ratio, share
from paceline.bench.noise import impossible
from paceline.bench.timing import Group, Runs, decoding, rounds, table
from paceline.core.stats import is_looping

__all__ = ["PLAIN", "TIE", "summarise"]

PLAIN = "paceline/plain"
TIE = 1e-5  # a flip at a smaller gap between the two likeliest tokens is a tie: no rounding can be held to it
MARGINS = 20  # differences of a method whose margin is asked for, a forward each: of another number format there are hundreds
Margin = Callable[[list[int], list[int], int], float]


def summarise(runs: dict[str, Runs], groups: Sequence[Group], margin: Margin, greedy: bool = True) -> dict[str, dict[str, Any]]:
    """Method name -> its figures. `margin(prompt, plain tokens, index)` gives the plain top-1/top-2 gap at a
    divergence. Where texts are sampled, rivals write their own, which are compared with none.
    """
    own = {name for name in runs if not (greedy or runs[name].stats(0))}
    return {name: _method(name, runs, groups) | _identity(name, runs, groups, None if name in own else margin) for name in runs}


def _method(name: str, runs: dict[str, Runs], groups: Sequence[Group]) -> dict[str, Any]:
    every = list(range(len(groups)))
    quiet = [g for g in every if not runs[name].loops(g) and not runs[PLAIN].loops(g)]
    kinds = list(dict.fromkeys(group.kind for group in groups))
    by_kind = {kind: [g for g in every if groups[g].kind == kind] for kind in kinds}
    calm = {kind: [g for g in indices if g in quiet] for kind, indices in by_kind.items()}
    return {
        **_figures(name, runs, every),
        "speedup_mean_over_tasks": _mean_over(name, runs, by_kind),
        "without_looping": {
            "prompts": len(quiet),
            **(_figures(name, runs, quiet) if quiet else {}),
            "speedup_mean_over_tasks": _mean_over(name, runs, calm),
        },
        "by_task": {kind: _figures(name, runs, indices) for kind, indices in by_kind.items()},
        "by_task_without_looping": {kind: _figures(name, runs, g) for kind, g in calm.items() if g},
        "stable_over_repeats": runs[name].stable(),
    }


def _figures(name: str, runs: dict[str, Runs], groups: Sequence[int]) -> dict[str, Any]:
    ours = table(runs[name], groups)
    tokens, seconds = int(ours[:, 1].sum()), float(ours[:, 0].sum())
    compared = {other: ratio(ours, table(runs[other], groups), _limit(name, other, runs, groups)) for other in runs}
    figures = {
        "outputs": sum(len(runs[name].tokens(g)) for g in groups),
        "new_tokens": tokens,
        "total_seconds": seconds,
        "tokens_per_second": tokens / max(seconds, 1e-12),
        "speedup": compared[PLAIN],
        "speedup_vs": {other: figure for other, figure in compared.items() if other != name},
        "looping": share([is_looping(row) for g in groups for row in runs[name].tokens(g)]),
    }
    if runs[name].stats(groups[0]):
        limit = _limit(name, PLAIN, runs, groups)
        figures["speedup_after_prefill"] = ratio(decoding(runs[name], groups), decoding(runs[PLAIN], groups), limit)
        figures["above_acceptance"] = limit is not None and impossible(runs[name], runs[PLAIN], groups)
    return figures | _speculation(name, runs, groups, tokens)


def _limit(name: str, other: str, runs: dict[str, Runs], groups: Sequence[int]) -> np.ndarray | None:
    """The rounds that bound the speed-up over plain decoding; None where the other is not that, or not by the same forward."""
    same = other == PLAIN and runs[name].forward == runs[PLAIN].forward
    return rounds(runs[name], groups) if same else None


def _speculation(name: str, runs: dict[str, Runs], groups: Sequence[int], tokens: int) -> dict[str, Any]:
    """Acceptance and where the time went, from our stats; for rivals the acceptance length from counted forwards."""
    stats = [s for g in groups for s in runs[name].stats(g)]
    if not stats:
        counted = [runs[name].forwards[g] for g in groups]
        forwards = sum(f for f in counted if f is not None) if None not in counted else None
        return {"target_forwards": forwards, "acceptance_length": tokens / forwards if forwards else None}
    rounds, drafted, accepted = (sum(getattr(s, key) for s in stats) for key in ("rounds", "drafted", "accepted"))
    seconds = {part: sum(s.seconds[part] for s in stats) for part in stats[0].seconds}
    decoding = sum(seconds.values()) - seconds["prefill"]
    return {
        "target_forwards": rounds,
        "num_drafts": sum(s.drafted_per_position[0] for s in stats if s.drafted_per_position),
        "num_draft_tokens": drafted,
        "num_accepted_tokens": accepted,
        "acceptance_rate": accepted / drafted if drafted else None,
        "acceptance_length": tokens / max(rounds, 1),
        "accept_per_position": accept_per_position([s.accepted_per_position for s in stats], rounds),
        "expected_speedup": _expected(runs[PLAIN], groups, seconds, rounds, tokens),
        "seconds": seconds,
        "outside_forwards": (seconds["commit"] + seconds["host"]) / max(decoding, 1e-12),
        "peak_memory_bytes": max(s.peak_memory_bytes for s in stats),
        "spent": sum(s.spent for s in stats),
        "failures": sorted({failure for s in stats for failure in s.failures}),
    }


def _expected(plain: Runs, groups: Sequence[int], seconds: dict[str, float], rounds: int, tokens: int) -> float:
    """Modelled from this run's acceptance and forward costs, host time left out."""
    base = [s for g in groups for s in plain.stats(g)]
    step = sum(s.seconds["verify"] for s in base) / max(sum(s.rounds for s in base), 1)
    rounds = max(rounds, 1)
    return expected_speedup(tokens / rounds, seconds["draft"] / rounds, seconds["verify"] / rounds, step)


def _mean_over(name: str, runs: dict[str, Runs], by_kind: dict[str, list[int]]) -> dict[str, dict[str, Any]]:
    """Against every other method: the mean over kinds of text of the ratio within each kind."""
    kept = [groups for groups in by_kind.values() if groups]
    others = [other for other in runs if other != name] if kept else []
    return {o: mean_ratio([(table(runs[name], g), table(runs[o], g), _limit(name, o, runs, g)) for g in kept]) for o in others}


def _identity(name: str, runs: dict[str, Runs], groups: Sequence[Group], margin: Margin | None) -> dict[str, Any]:
    """Share of outputs equal to plain's, token by token, and every difference, the first ones with their margin; none without one
    to ask.
    """
    if margin is None:
        return {"identical": None, "divergences": [], "ties": 0}
    differences, equal = list[dict[str, Any]](), []
    for g, group in enumerate(groups):
        for row, prompt in enumerate(group.prompts):
            plain = runs[PLAIN].tokens(g)[row]
            at = first_divergence(runs[name].tokens(g)[row], plain)
            equal.append(at is None)
            if at is not None:
                gap = margin(prompt, plain, at) if len(differences) < MARGINS else None
                differences.append({"task": group.kind, "group": g, "row": row, "index": at, "margin": gap,
                                    "tie": gap is not None and gap < TIE})  # fmt: skip
    return {"identical": share(equal), "divergences": differences, "ties": sum(d["tie"] for d in differences)}
