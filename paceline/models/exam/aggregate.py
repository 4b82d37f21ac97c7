"""Aggregators: a class's scores for all words [B, c, n] become its logit [B, c]; the same rule for every class."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn.functional import relu

from paceline.models.exam.config import ExamConfig

__all__ = ["Mlp", "aggregator_for", "winners"]

Rule = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


class Mlp(nn.Module):
    """EXAM's: o_s = ReLU(I_s W1 + b) W2, shared over the classes, so it knows places and no class.

    It never grows with the number of classes, and a class that is added changes no other's logit. Source: arXiv 1811.09386,
    section 3.4; residual and out_bias are the released code's.
    """

    def __init__(self, config: ExamConfig) -> None:
        super().__init__()
        self.config = config
        inner = config.hidden or 2 * config.length
        self.first = nn.Linear(config.length, inner)
        self.second = nn.Linear(inner, 1, bias=config.out_bias)

    def forward(self, scores: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        if self.config.pad_left:
            scores = scores.gather(-1, shifted(mask)[:, None].expand_as(scores))
        out = self.second(relu(self.first(scores))).squeeze(-1)
        return out + scores.sum(-1) if self.config.residual else out


class Attention(nn.Module):
    """The mean of a class's scores, weighed by softmax(beta I_s); beta is learned: 0 is the mean, infinity the maximum."""

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.ones(()))

    def forward(self, scores: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return ((self.beta * scores).masked_fill(~mask[:, None], -math.inf).softmax(-1) * scores).sum(-1)


class Rules(nn.Module):
    """A rule without weights."""

    def __init__(self, rule: Rule) -> None:
        super().__init__()
        self.rule = rule

    def forward(self, scores: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.rule(scores, mask[:, None])


def aggregator_for(config: ExamConfig) -> nn.Module:
    """The aggregator that the settings name; `aggregator(scores [B, c, n], mask [B, n]) -> logits [B, c]`."""
    if config.aggregator in ("mlp", "attention"):
        return Mlp(config) if config.aggregator == "mlp" else Attention()
    rules: dict[str, Rule] = {
        "sum": total, "max_pool": total, "mean": lambda scores, mask: total(scores, mask) / counted(mask),
        "max": lambda scores, mask: scores.masked_fill(~mask, -math.inf).amax(-1),
        "logsumexp": lambda scores, mask: scores.masked_fill(~mask, -math.inf).logsumexp(-1) - counted(mask).log(),
        "top": lambda scores, mask: strongest(scores, mask, config.top),
    }  # fmt: skip
    return Rules(rules[config.aggregator])


def total(scores: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    return scores.masked_fill(~mask, 0.0).sum(-1)


def counted(mask: torch.Tensor) -> torch.Tensor:
    return mask.sum(-1).clamp_min(1)


def strongest(scores: torch.Tensor, mask: torch.Tensor, most: int) -> torch.Tensor:
    """The mean of a class's `most` largest scores, of fewer where a text is shorter."""
    found = scores.masked_fill(~mask, -math.inf).topk(min(most, scores.shape[-1]), -1).values
    real = found > -math.inf
    return total(found, real) / counted(real)


def winners(hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """H with zeros wherever another word of the text is larger in that element: its sum over words is H's maximum over words.

    So the baseline "max-pool, then a linear layer" is an interaction too, and its words can be shown like any other's.
    """
    best = hidden.masked_fill(~mask[..., None], -math.inf).argmax(1, keepdim=True)
    return hidden * torch.zeros_like(hidden).scatter(1, best, 1.0)


def shifted(mask: torch.Tensor) -> torch.Tensor:
    """Where each of the n places is read from when texts stand at the end instead of at the beginning, [B, n]."""
    n = mask.shape[-1]
    return (torch.arange(n, device=mask.device) + mask.sum(-1, keepdim=True)) % n
