"""Training objectives, one file each: ``objective(logits, target, teacher) -> Loss``.

``logits [N, V]`` of any float type, ``target [N]`` token ids with negative numbers where no loss is wanted, ``teacher
[N, V]`` logits of another model or None. Where the order of a sentence's tokens matters, ``logits [B, T, V]`` and ``target
[B, T]``. Sums, not means: a caller may feed a batch in parts and divide once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

__all__ = ["Loss"]


@dataclass(frozen=True)
class Loss:
    """``total``: the scalar to differentiate, summed over the scored rows (nats); ``parts``: plain sums to log."""

    total: Tensor
    parts: dict[str, float] = field(default_factory=dict)
