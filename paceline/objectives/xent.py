"""Cross-entropy on the next token (XE)."""

from __future__ import annotations

import torch
from torch import Tensor

from paceline.objectives import Loss

__all__ = ["xent"]


def xent(logits: Tensor, target: Tensor, teacher: Tensor | None = None, *, smoothing: float = 0.0) -> Loss:
    """Sum of -log p(target) over the rows whose target is not negative, in nats.

    Args:
        logits: ``[N, V]``, any float type; the log-softmax is taken in fp32 at least.
        target: ``[N]`` token ids, negative where no loss is wanted.
        teacher: not used; every objective takes it.
        smoothing: share of label smoothing, cross-entropy against a uniform law, in the sum.
    """
    logits = logits if logits.dtype == torch.float64 else logits.float()
    ignored = torch.where(target < 0, -100, target)
    total = torch.nn.functional.cross_entropy(logits, ignored, ignore_index=-100, reduction="sum", label_smoothing=smoothing)
    return Loss(total, {"xent": float(total.detach())})
