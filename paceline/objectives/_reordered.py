"""What the order-agnostic objectives share: cross-entropy against weights that say which reference token stands where.

``weigh(costs, sizes) -> weights``: ``costs [N, T, T]``, finite, without a gradient, is -log p of token k at position i; a
sentence is the leading ``sizes [N]`` positions and tokens. A position's weights add up to 1 over the tokens: the identity is XE,
the best permutation OaXE.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from paceline.errors import ShapeError, SpecError
from paceline.objectives import Loss

__all__ = ["Terms", "check", "one_hot", "reordered"]

LARGE = 1e4  # nats: stands for an impossible token, above any sentence's cost and small enough for fp32 to add others to it

Weigh = Callable[[Tensor, Tensor], Tensor]


class Terms(Protocol):
    """Options that every order-agnostic objective has; `oaxe` explains them."""

    @property
    def margin(self) -> float: ...
    @property
    def gate(self) -> float: ...
    @property
    def smoothing(self) -> float: ...
    @property
    def mix(self) -> float: ...
    @property
    def compat(self) -> bool: ...


def check(name: str, terms: Terms) -> None:
    """Raises SpecError for options out of range; a margin of 1 would drop every term."""
    if not (0 <= terms.margin < 1 and 0 <= terms.gate <= 1 and 0 <= terms.smoothing < 1 and 0 <= terms.mix <= 1):
        raise SpecError(f"{name} needs 0 <= margin < 1, 0 <= gate <= 1, 0 <= smoothing < 1 and 0 <= mix <= 1; found "
                        f"margin={terms.margin}, gate={terms.gate}, smoothing={terms.smoothing}, mix={terms.mix}.")


def one_hot(order: Tensor) -> Tensor:
    """``[N, T]``, the token of each position, as weights ``[N, T, T]``."""
    return (order[..., None] == torch.arange(order.shape[-1], device=order.device)).float()


def reordered(logits: Tensor, target: Tensor, terms: Terms, weigh: Weigh) -> Loss:
    """The loss that `Oaxe.__call__` describes, with the weights of `weigh` in place of the best permutation's."""
    references = _references(logits, target)
    log_probs = (logits if logits.dtype == torch.float64 else logits.float()).log_softmax(-1)
    target, weights = _cheapest(log_probs, references, terms.mix, weigh)
    scored = target >= 0
    costs = _costs(log_probs, target)
    kept = weights * scored[..., None]
    moved = scored.sum() - kept.diagonal(dim1=1, dim2=2).sum()
    if terms.margin:
        kept = _truncated(kept, costs.detach(), terms)
    own = torch.eye(target.shape[1], device=target.device) * scored[..., None]
    matched, xent = _weighted(costs.detach(), kept), _weighted(costs.detach(), own)
    total = _weighted(costs, terms.mix * own + (1 - terms.mix) * kept)
    if terms.smoothing:
        total = (1 - terms.smoothing) * total - terms.smoothing * log_probs.mean(-1)[scored].sum()
    sums = torch.stack([matched, xent, kept.sum(), moved]).tolist()
    return Loss(total, dict(zip(("matched", "xent", "kept", "moved"), sums, strict=True)))


def _truncated(kept: Tensor, costs: Tensor, terms: Terms) -> Tensor:
    """Without the terms that the margin drops, where it leaves a share of `gate`. One that is no number is not dropped: a model
    that diverged must show.
    """
    sure = kept * ~(costs >= (math.log2 if terms.compat else math.log)(1 / terms.margin))
    return sure.where(sure.sum() >= terms.gate * kept.sum(), kept)


def _weighted(costs: Tensor, weights: Tensor) -> Tensor:
    """Sum of the costs that have a weight; an infinite one without any must not make it NaN."""
    return (costs.where(weights > 0, 0) * weights).sum()


def _costs(log_probs: Tensor, target: Tensor) -> Tensor:
    """``[B, T, T]``: -log p of token k of the target at position i."""
    length = target.shape[-1]
    return -log_probs.gather(2, target.clamp_min(0)[:, None].expand(-1, length, -1))


@torch.no_grad()
def _cheapest(log_probs: Tensor, references: Tensor, mix: float, weigh: Weigh) -> tuple[Tensor, Tensor]:
    """Of each sentence's references ``[B, R, T]`` the one of least loss, dropping nothing, ``[B, T]``, and its weights."""
    costs = torch.stack([_costs(log_probs, reference) for reference in references.unbind(1)], 1).float()
    costs = costs.nan_to_num(nan=LARGE).clamp_max(LARGE)  # solvers take finite numbers only
    scored = references >= 0
    weights = weigh(costs.flatten(0, 1), scored.sum(-1).flatten()).view_as(costs)
    share = (1 - mix) * weights + mix * torch.eye(costs.shape[-1], device=costs.device)
    price = (share * costs * scored[..., None]).sum((2, 3)).masked_fill(~scored.any(-1), math.inf)
    best, rows = price.argmin(1), torch.arange(len(price), device=price.device)
    return references[rows, best], weights[rows, best]


def _references(logits: Tensor, target: Tensor) -> Tensor:
    """The target as ``[B, R, T]``, checked."""
    references = target[:, None] if target.dim() == 2 else target
    if logits.dim() != 3 or references.dim() != 3 or references.shape[::2] != logits.shape[:2]:
        raise ShapeError("Order-agnostic objectives expect logits [B, T, V] and targets [B, T], or [B, R, T] for R references; "
                         f"found {tuple(logits.shape)} and {tuple(target.shape)}.")
    scored, sizes = references >= 0, (references >= 0).sum(-1)
    if (scored[..., 1:] & ~scored[..., :-1]).any():
        raise ShapeError("Expected negative targets after a sentence's end only; found one before or within a sentence. Take out "
                         "its position, logits too.")
    if ((sizes != sizes.amax(1, keepdim=True)) & (sizes > 0)).any():
        raise ShapeError("Expected a sentence's references to have as many tokens as it has positions; found different lengths. "
                         "Give each length a row of its own.")
    if (references >= logits.shape[2]).any():
        raise ShapeError(f"Expected target ids below V = {logits.shape[2]}; found {int(references.max())}.")
    return references
