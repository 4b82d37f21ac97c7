"""Learning-rate schedules: a step number in, a factor in [0, 1] out. They know nothing of optimisers."""

from __future__ import annotations

__all__ = ["wsd"]


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
