"""What to do about what was seen. Pure functions of readings: where they do not say it, nothing is advised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from paceline.core.reading import Reading
from paceline.report.roles import ROLES, evidence
from paceline.report.table import figure, marks, number

__all__ = ["Advice", "advice", "lazy_layers"]

SINKING = 0.1  # of all heads, from which on a sink must stay in a cache
MASSIVE = 10  # times the median norm
DRIFTING = 10  # times the drift in fp32
LONG, WINDOW = 8192, 4 + 1020  # tokens of a long text, and what a streaming layer keeps of it (LightTransfer)


@dataclass(frozen=True)
class Advice:
    """What was found, what to do, and the command that does it, where there is one."""

    finding: str
    action: str
    command: str | None = None


def advice(readings: Sequence[Reading], model: str) -> list[Advice]:
    """Everything that these readings give reason for."""
    found = (_lazy(readings, model), _sinks(readings), _massive(readings), _slash(readings), _drift(readings))
    return [a for a in found if a is not None]


def lazy_layers(readings: Sequence[Reading]) -> torch.Tensor | None:
    """Which layers are lazy, [layers]; None where that was not asked, or cannot be told."""
    found = next((e for e in evidence(readings) if e.word == "lazy"), None)
    return None if found is None else found.mean[:, 0] >= found.least


def _lazy(readings: Sequence[Reading], model: str) -> Advice | None:
    least = ROLES["lazy"].least
    if (lazy := lazy_layers(readings)) is None:
        return None
    if not lazy.any():
        return Advice(f"No layer of {len(lazy)} is lazy.", f"None gives {least:.0%} of its late attention to the first and the "
                      "latest keys: keep full attention everywhere.")
    keep = 1 - float(lazy.float().mean())
    left = keep + (1 - keep) * WINDOW / LONG
    return Advice(f"{int(lazy.sum())} of {len(lazy)} layers are lazy.",
                  f"Their late queries give at least {least:.0%} of their attention to the first and the latest keys. If they "
                  f"keep {WINDOW:,} keys, a text of {LONG:,} tokens takes {left:.0%} of the memory for keys and values.",
                  f"paceline convert {model} --selector lighttransfer:keep={keep:.2g} --out DIR")


def _sinks(readings: Sequence[Reading]) -> Advice | None:
    if (total := figure(readings, "sinks", "total")) is None:
        return None
    shares = total.mean.tolist()
    if max(shares) < SINKING:
        return Advice("Hardly any head has a sink.", f"At most {max(shares):.1%} of the heads do, at any of the first "
                      f"{len(shares)} tokens: a window needs no kept beginning.")
    kept = 1 + max(i for i, share in enumerate(shares) if share >= SINKING)
    return Advice(f"{max(shares):.0%} of the heads sink on {place(shares.index(max(shares)))}.",
                  f"Never drop it from a cache: keep the first {max(kept, 4)} tokens beside any window.")


def _massive(readings: Sequence[Reading]) -> Advice | None:
    massive = figure(readings, "sinks", "massive")
    if massive is None or float(massive.mean.max()) < MASSIVE:
        return None
    most, at = massive.mean.max(0)
    numbers = marks(massive, "layer")
    layers = ranges([numbers[i] for i in (massive.mean >= MASSIVE).nonzero()[:, 0].tolist()])
    return Advice(f"At the sink, what enters layer {numbers[int(at)]} is {float(most):,.0f} times as large as elsewhere.",
                  f"A few channels there would set the scale of a whole row or tensor of activations (layers {layers}): quantise "
                  "activations per block of channels instead.")


def _slash(readings: Sequence[Reading]) -> Advice | None:
    if (scores := figure(readings, "slash", "score")) is None:
        return None
    holds = scores.mean >= ROLES["slash"].least
    back = {int(lag): int(holds[..., i].sum()) for i, lag in enumerate(scores.ticks["lag"]) if lag > 0 and holds[..., i].any()}
    if not back:
        return Advice("No head looks back by a fixed number of tokens.", "Slash-sparse attention has nothing to keep here.")
    most = max(back, key=lambda lag: back[lag])
    return Advice(f"{back[most]} head{'s look' if back[most] > 1 else ' looks'} back by {most} token{'s' if most > 1 else ''}.",
                  f"The farthest offset that any head has, of those asked for, is {max(back)}: a window of {max(back) + 1} keys "
                  "holds all that these heads look for.")


def _drift(readings: Sequence[Reading]) -> Advice | None:
    drift = figure(readings, "rope_drift", "drift")
    modes = list(drift.ticks["mode"]) if drift else []
    if drift is None or not {"bf16", "fp32"} <= set(modes):
        return None
    half, full = (float(drift.mean[modes.index(mode), 0, -1]) for mode in ("bf16", "fp32"))
    if half < DRIFTING * full:
        return None
    return Advice(f"In bf16, shifting all positions moves attention {number(half / full)} times as far as in fp32.",
                  "Compute rotations and scores in fp32 where texts are long, and give each document of a packed batch the same "
                  "positions in training as in use.")


def place(key: int) -> str:
    return "the first token" if key == 0 else f"token {key + 1}"


def ranges(numbers: Sequence[int]) -> str:
    """`3 to 5, 9` for 3, 4, 5, 9."""
    runs: list[list[int]] = []
    for n in numbers:
        if runs and n == runs[-1][-1] + 1:
            runs[-1].append(n)
        else:
            runs.append([n])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)
