"""From rounds and costs to the speed-up they let expect, with an interval. Pure functions over numbers; knows no model.

Throughput is the mean tokens of a round over its mean seconds (renewal view), so

    speed-up = plain seconds a token * tokens a round / (draft + forward of the nodes drafted + host, seconds a round)

with the seconds of forwards from the cost curve, measured apart, and all else counted in the calibration runs. After the classic
formula (Leviathan et al., arXiv 2211.17192, section 3.3), with measured costs in place of its c and its assumption that a forward
of several tokens costs as much as one of one. A round counts as at least a plain one, and prefill as the same: noise in any of
the times cannot carry the speed-up above the tokens a round.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from paceline.bench.metrics import figure
from paceline.doctor.costs import Curve, Noted

__all__ = ["Spent", "best_length", "break_even", "modelled", "spent", "tallied"]

SLOW = 3.0  # times the median beyond which a round's seconds tell of the machine


@dataclass(frozen=True)
class Spent:
    """What one prompt took in a calibration run. tokens: new ones. forward: seconds of its forwards by the curve, verify: as
    measured in the run. draft: seconds of `propose` but for catching up, which is `late`. host: what rounds took beside.
    """

    tokens: float
    rounds: float
    forward: float
    verify: float
    draft: float
    late: float
    host: float
    prefill: float


def spent(rounds: Sequence[Noted], prefill: float, curve: Curve) -> Spent:
    """Sum up the rounds of one call (all its rows). Seconds beyond three times their median are cut to it: they are the
    machine's, not the drafter's.
    """
    verify = clipped([r.outcome.verify_seconds for r in rounds])
    host = clipped([max(0.0, r.outcome.seconds - r.outcome.draft_seconds - r.outcome.verify_seconds) for r in rounds])
    first = {r.outcome.row: i for i, r in reversed(list(enumerate(rounds)))}
    openings = set(first.values())
    usual = clipped([r.outcome.draft_seconds for i, r in enumerate(rounds) if i not in openings])
    typical = statistics.median(usual) if usual else 0.0
    begun = [rounds[i].outcome.draft_seconds for i in openings]
    late = sum(max(0.0, seconds - typical) for seconds in begun)
    return Spent(sum(r.outcome.tokens for r in rounds), len(rounds), sum(map(curve.of, rounds)), sum(verify),
                 sum(usual) + sum(begun) - late, late, sum(host), prefill)


def clipped(seconds: Sequence[float]) -> list[float]:
    """The same seconds, none above three times their median (of those above zero: many rounds draft nothing)."""
    some = [s for s in seconds if s > 0]
    most = SLOW * statistics.median(some) if some else 0.0
    return [min(s, most) for s in seconds]


def modelled(plain: Sequence[Spent], drafted: Sequence[Spent], draws: int = 2000, seed: int = 0) -> dict[str, Any]:
    """The speed-up to expect, `whole` (prefill included) and `decoding` (without), and `length`, tokens a round, each with a
    bootstrap 95 % interval over prompts.

    plain, drafted: the same prompts in the same order. A forward costs what the curve says and what plain rounds took beyond it:
    within the loop each finds cold caches, whatever its size. Resampling is paired.
    """
    ours, theirs = np.array([astuple(s) for s in drafted]), np.array([astuple(s) for s in plain])
    picks = np.random.default_rng(seed).integers(0, len(ours), (draws, len(ours)))
    once = _speedups(theirs.sum(0), ours.sum(0))
    spread = _speedups(theirs[picks].sum(1), ours[picks].sum(1))
    return {name: figure(once[name], spread[name], len(ours)) for name in once}


def _speedups(plain: np.ndarray, ours: np.ndarray) -> dict[str, np.ndarray]:
    """plain, ours [..., 8]: sums of `Spent` over prompts."""
    _, base_rounds, base_forward, base_verify, _, _, base_host, base_prefill = np.moveaxis(plain, -1, 0)
    tokens, rounds, forward, _, draft, late, host, prefill = np.moveaxis(ours, -1, 0)
    step = (base_verify + base_host) / base_rounds
    fast = draft + late + forward + rounds * (base_verify - base_forward) / base_rounds + host
    fast, length = np.maximum(fast, rounds * step), tokens / rounds
    whole = (tokens * step + base_prefill) / (fast + np.maximum(prefill, base_prefill))
    return {"whole": np.minimum(whole, length), "decoding": np.minimum(tokens * step / fast, length), "length": length}


def tallied(plain: Sequence[Spent], drafted: Sequence[Spent]) -> dict[str, float]:
    """Means of a round, in seconds and as shares of a plain round: what the prediction is made of."""
    base, rounds = sum(s.rounds for s in plain), sum(s.rounds for s in drafted)
    step = sum(s.verify + s.host for s in plain) / base
    beyond = sum(s.verify - s.forward for s in plain) / base
    parts = {"draft": sum(s.draft for s in drafted) / rounds, "forward": sum(s.forward for s in drafted) / rounds + beyond,
             "host": sum(s.host for s in drafted) / rounds, "catching_up": sum(s.late for s in drafted) / rounds}
    return {"plain_round_seconds": step, **{f"{name}_seconds": value for name, value in parts.items()},
            "break_even_length": max(1.0, sum(parts.values()) / step)}


def break_even(curve: dict[int, float], draft: float) -> float:
    """The chance of acceptance from which one drafted token pays: what it costs to check and to draft (`draft`), both as shares
    of a plain step. Above 1 none can.
    """
    return max(0.0, curve[2] - 1.0 + draft)


def best_length(accepted: Sequence[float], curve: dict[int, float], draft: float = 0.0, fixed: float = 0.0) -> int:
    """The constant draft length k that other engines ask for, with the most tokens a second at these costs; 0 = none pays.

    accepted: share of rounds that accepted a token at depth 1, 2, …; curve: v(n); draft: cost of each drafted token, fixed: of
    each draft, as shares of a plain step.
    """
    sizes, costs = list(curve), list(curve.values())

    def rate(k: int) -> float:
        return (1 + sum(accepted[:k])) / (float(np.interp(1 + k, sizes, costs)) + k * draft + fixed * (k > 0))

    return max(range(len(accepted) + 1), key=rate)
