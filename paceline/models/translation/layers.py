"""Layers of encoders and decoders (Vaswani et al. 2017, arXiv 1706.03762), with keys that may come from elsewhere than queries.

`visible` is a bool mask that broadcasts to [B, H, T, S]; keys are pairs [B, H, S, D / H].
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, gelu, scaled_dot_product_attention

from paceline.models.translation.config import TranslationConfig

__all__ = ["DecoderLayer", "EncoderLayer", "Keys", "SourceLayer", "initialise"]

Keys = tuple[Tensor, Tensor]


class Attention(nn.Module):
    """Several heads of attention."""

    def __init__(self, config: TranslationConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.q, self.k, self.v, self.out = (nn.Linear(config.width, config.width) for _ in range(4))

    def keys(self, x: Tensor) -> Keys:
        """Keys and values of what may be seen."""
        return self._heads(self.k(x)), self._heads(self.v(x))

    def forward(self, x: Tensor, keys: Keys, visible: Tensor | None) -> Tensor:
        seen = scaled_dot_product_attention(self._heads(self.q(x)), *keys, attn_mask=visible)
        return self.out(seen.transpose(1, 2).flatten(2))

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class FeedForward(nn.Module):
    """Two layers with a GELU between."""

    def __init__(self, config: TranslationConfig) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(config.width, config.ffn), nn.Linear(config.ffn, config.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(gelu(self.up(x)))


class Around(nn.Module):
    """A part with its residual, and its norm in front of the part or behind the sum."""

    def __init__(self, config: TranslationConfig, part: type[nn.Module]) -> None:
        super().__init__()
        self.norm, self.part = nn.LayerNorm(config.width), part(config)
        self.pre, self.dropout = config.pre_norm, config.dropout

    def keys(self, x: Tensor) -> Keys:
        """Keys of what goes the same way as the queries."""
        return self.part.keys(self._enter(x))  # type: ignore[operator]

    def forward(self, x: Tensor, *rest: Any) -> Tensor:
        x = x + dropout(self.part(self._enter(x), *rest), self.dropout, self.training)
        return x if self.pre else self.norm(x)

    def _enter(self, x: Tensor) -> Tensor:
        return self.norm(x) if self.pre else x


class EncoderLayer(nn.Module):
    """Every token of a sentence sees every other."""

    def __init__(self, config: TranslationConfig) -> None:
        super().__init__()
        self.own, self.feed = Around(config, Attention), Around(config, FeedForward)

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        return self.feed(self.own(x, self.own.keys(x), visible))


class SourceLayer(nn.Module):
    """Each token looks at the source, at no other token of the target."""

    def __init__(self, config: TranslationConfig) -> None:
        super().__init__()
        self.cross, self.feed = Around(config, Attention), Around(config, FeedForward)

    def source(self, hidden: Tensor) -> Keys:
        """Keys of the encoder's output."""
        return self.cross.part.keys(hidden)  # type: ignore[operator]

    def forward(self, x: Tensor, source: Keys, seen: Tensor) -> Tensor:
        return self.feed(self.cross(x, source, seen))


class DecoderLayer(nn.Module):
    """Each token looks at others of the target, then at the source."""

    def __init__(self, config: TranslationConfig) -> None:
        super().__init__()
        self.own, self.rest = Around(config, Attention), SourceLayer(config)

    def forward(self, x: Tensor, keys: Keys, visible: Tensor | None, source: Keys, seen: Tensor) -> Tensor:
        return self.rest(self.own(x, keys, visible), source, seen)


def initialise(module: nn.Module) -> None:
    """N(0, 0.02) for all weights, as in Mask-Predict; no bias."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        torch.nn.init.zeros_(module.bias)
