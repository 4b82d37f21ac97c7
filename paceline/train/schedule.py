"""Schedules: a step number in, a factor in [0, 1] out. They know nothing of optimisers."""

from __future__ import annotations

import math
from collections.abc import Callable

from paceline.errors import SpecError, did_you_mean

__all__ = ["falling", "wsd"]

SHAPES: dict[str, Callable[[float], float]] = {  # of the share that is left, 1 to 0
    "linear": lambda left: left,
    "cosine": lambda left: (1 - math.cos(math.pi * left)) / 2,
    "exponential": lambda left: math.expm1(5 * left) / math.expm1(5),
    "inverse_sigmoid": lambda left: (1 + math.tanh(5 * left - 2.5) / math.tanh(2.5)) / 2,
}


def wsd(step: int, steps: int, warmup: float = 0.02, decay: float = 0.35, floor: float = 0.02) -> float:
    """Factor on the peak rate at ``step`` (0-based) of ``steps``: warm-up, stable, linear decay.

    ``warmup`` and ``decay`` are shares of the run, ``floor`` the factor at the last step. The long stable part makes a
    checkpoint taken there a good start for a longer run, and the decay gives most of the final loss. Source: MiniCPM
    (arXiv 2404.06395), section 4, warmup-stable-decay; the linear form follows Haegele et al. (arXiv 2405.18392).
    """
    warm_steps = max(1, round(steps * warmup))
    decay_steps = max(1, round(steps * decay))
    rising = (step + 1) / warm_steps
    falling = floor + (1 - floor) * (steps - 1 - step) / decay_steps
    return max(0.0, min(1.0, rising, falling))


def falling(step: int, steps: int, shape: str = "linear") -> float:
    """From 1 at step 0 and before to 0 at the last of ``steps`` and after: `falling(step - 2000, 1000)` holds 1 for 2,000 steps.

    For what is given up as training goes on: `mix` and `curriculum` of the order-agnostic objectives. ``shape``: linear, cosine,
    exponential or inverse_sigmoid. Source: Bengio et al., scheduled sampling (arXiv 1506.03099), section 2.4, has the linear,
    the exponential and the inverse sigmoid one; here all are stretched so that both ends are exact. Raises SpecError for another.
    """
    if shape not in SHAPES:
        raise SpecError(f"There is no shape {shape!r} to fall by.{did_you_mean(shape, SHAPES)}")
    return SHAPES[shape](1 - min(1.0, max(0.0, step / max(1, steps - 1))))
