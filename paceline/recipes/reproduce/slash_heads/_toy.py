"""The theory's setting as a toy: one head over tokens near one axis, whose queries and keys plain gradient descent learns.

The head gives out the tokens that it looks at, so its loss is -log of the attention on tokens that are the one `lag` before. The
tokens are frozen vectors of one length whose cosine with an axis is `cone`: near 1, all queries are nearly one vector, and so are
all keys. Source: the two conditions of Cheng, Zhang, Hou, Du et al. (arXiv 2601.08297); the set-up is of our own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from paceline.lm.rotary import Rope
from paceline.models.small_lm import Shape
from paceline.recipes.reproduce.slash_heads._heads import foretold, rope_of, scores

__all__ = ["Toy", "learned"]

WIDTH, TOKENS = 32, 256  # of a head; more tokens than that, or some vector would have one product with all of them
ROWS, LENGTH = 8, 64  # of a step
RATE = 0.1


@dataclass(frozen=True)
class Toy:
    """lag: how many tokens before stands the asked one. cone: cosine of every token with the axis. wavelengths: as `Shape` says.
    """

    lag: int
    cone: float = 0.95
    wavelengths: tuple[float, float] = (0.0, float("inf"))


def learned(toy: Toy, steps: int, seed: int) -> dict[str, Any]:
    """After so many steps: the lag with the best score, the one that mean vectors foretell, and the score at the asked one, on
    the tokens that were trained on and on others of the same cone.
    """
    random = torch.Generator().manual_seed(seed)
    rope, axis = rope_of(Shape(width=WIDTH, heads=1, wavelengths=toy.wavelengths)), torch.randn(WIDTH, generator=random)
    tokens, others = (on_cone(normalize(axis, dim=0), toy.cone, random) for _ in range(2))
    weights = (torch.randn(2, WIDTH, WIDTH, generator=random) / WIDTH).requires_grad_()
    for _ in range(steps):
        ids = drawn(random)
        loss = -on_asked(attention(weights, tokens[ids], rope), ids, toy.lag).clamp_min(1e-9).log().mean()
        weights.data -= RATE * torch.autograd.grad(loss, weights)[0]
    with torch.no_grad():
        ids = drawn(random)
        found, other = (scores(attention(weights, of[ids], rope)).mean(0) for of in (tokens, others))
        q, k = (tokens @ weights.mT).mean(1, keepdim=True)
        law = foretold(q, k, rope, LENGTH)
    return {"asked": toy.lag, "learned": int(found.argmax()), "foretold": int(law.argmax()), "score": float(found[toy.lag]),
            "others": float(other[toy.lag])}


def on_cone(axis: Tensor, cosine: float, random: torch.Generator) -> Tensor:
    """Tokens [V, D], each number about 1 in size."""
    sideways = torch.randn(TOKENS, WIDTH, generator=random)
    sideways = normalize(sideways - (sideways @ axis)[:, None] * axis, dim=-1)
    return WIDTH**0.5 * (cosine * axis + (1 - cosine**2) ** 0.5 * sideways)


def drawn(random: torch.Generator) -> Tensor:
    return torch.randint(TOKENS, (ROWS, LENGTH), generator=random, dtype=torch.long)


def attention(weights: Tensor, x: Tensor, rope: Rope) -> Tensor:
    """[B, T, T] of tokens [B, T, D]."""
    q, k = (rope.rotate(x @ weight.T, torch.arange(LENGTH, dtype=torch.long, device="cpu")) for weight in weights)
    later = torch.ones(LENGTH, LENGTH, dtype=torch.bool, device="cpu").triu(1)
    return (q @ k.mT * WIDTH**-0.5).masked_fill(later, -torch.inf).softmax(-1)


def on_asked(attended: Tensor, ids: Tensor, lag: int) -> Tensor:
    """Attention [B, T - lag] that each query gives to tokens like the one so many before it."""
    alike = ids[:, : LENGTH - lag, None] == ids[:, None]
    return (attended[:, lag:] * alike).sum(-1)
