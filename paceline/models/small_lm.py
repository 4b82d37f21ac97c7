"""A small causal language model whose attention is of many kinds, for studies of where attention's habits come from.

Llama's block (RMSNorm before each part, rotary positions, SwiGLU, no biases, tied embeddings) with the parts that studies change:
how scores become weights, an extra key or value, who sees whom, which rotary pairs turn, whether queries and keys may depend on
the token. It is trained and looked at, never decoded: attention is dense, [B, H, T, T].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from paceline.errors import ShapeError

__all__ = ["Shape", "SmallLM"]

Weights = Literal["softmax", "sigmoid", "normalised_sigmoid", "elu", "normalised_elu", "linear"]


@dataclass(frozen=True)
class Shape:
    """Sizes, and what attention is like.

    weights: softmax; sigmoid of the scores, as they are or divided by their sum; elu + 1 of queries and keys, whose product is
    the weight, likewise; or the bare product. bias: a learned key ("k", its value zero), key and value ("kv") that every query
    sees in front of the first token, or a value added to the output ("v"), one for each head. prefix: so many first keys are seen
    by every query. window: so many last keys are seen, 0 = all. content: "free"; "fixed" gives all tokens one query and one key
    for each head (rank one before rotation); "centred" takes away the mean over the text so far. wavelengths: rotary pairs turn
    whose wavelength in tokens lies from the first to below the second. Raises ShapeError for heads of an odd width.
    """

    vocabulary: int = 4096
    width: int = 128
    layers: int = 4
    heads: int = 4
    ffn: int = 344
    weights: Weights = "softmax"
    bias: Literal["", "k", "kv", "v"] = ""
    prefix: int = 1
    window: int = 0
    content: Literal["free", "fixed", "centred"] = "free"
    base: float = 10_000.0
    wavelengths: tuple[float, float] = (0.0, float("inf"))

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads):
            raise ShapeError(f"Expected heads of an even width, found width {self.width} and {self.heads} heads.")

    @property
    def head_dim(self) -> int:
        return self.width // self.heads


class SmallLM(nn.Module):
    """`model(tokens [B, T]) -> logits [B, T, V]`; weights drawn with the seed, N(0, 0.02)."""

    def __init__(self, shape: Shape, seed: int = 0) -> None:
        super().__init__()
        self.shape = shape
        torch.manual_seed(seed)
        self.embed = nn.Embedding(shape.vocabulary, shape.width)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.norm = nn.RMSNorm(shape.width, eps=1e-5)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, tokens: Tensor, maps: list[Tensor] | None = None) -> Tensor:
        """maps: receives every layer's attention weights [B, H, T, T], with an extra key in front [B, H, T, 1 + T]."""
        x, rotation = self.embed(tokens), rotary(self.shape, tokens.shape[1])
        hidden = ~visible(self.shape, tokens.shape[1])
        for block in self.blocks:
            x = block(x, rotation, hidden, maps)
        return F.linear(self.norm(x), self.embed.weight)


class Block(nn.Module):
    """Attention and SwiGLU, each added to its input."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attention = Attention(shape)
        self.before_attention, self.before_mlp = (nn.RMSNorm(shape.width, eps=1e-5) for _ in range(2))
        self.gate_up = nn.Linear(shape.width, 2 * shape.ffn, bias=False)
        self.down = nn.Linear(shape.ffn, shape.width, bias=False)

    def forward(self, x: Tensor, rotation: Tensor, hidden: Tensor, maps: list[Tensor] | None) -> Tensor:
        x = x + self.attention(self.before_attention(x), rotation, hidden, maps)
        gate, up = self.gate_up(self.before_mlp(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


class Attention(nn.Module):
    """Of the kind that the shape names. Source of the kinds: Gu, Du et al., arXiv 2410.10781, section 7."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.qkv = nn.Linear(shape.width, 3 * shape.width, bias=False)
        self.out = nn.Linear(shape.width, shape.width, bias=False)
        each = shape.heads, 1, shape.head_dim
        self.key = nn.Parameter(torch.zeros(each)) if "k" in shape.bias else None
        self.value = nn.Parameter(torch.zeros(each)) if "v" in shape.bias else None
        self.fixed = nn.Parameter(torch.randn(2, *each)) if shape.content == "fixed" else None

    def forward(self, x: Tensor, rotation: Tensor, hidden: Tensor, maps: list[Tensor] | None) -> Tensor:
        q, k, v = self.projected(x)
        q, k = turned(q, rotation), turned(k, rotation)
        if self.key is not None:  # not rotated, so that it is the same from everywhere
            k = torch.cat((self.key.expand(len(x), -1, -1, -1), k), 2)
            first = v.new_zeros(v[:, :, :1].shape) if self.value is None else self.value.expand(len(x), -1, -1, -1)
            v, hidden = torch.cat((first, v), 2), F.pad(hidden, (1, 0), value=False)
        weights = attention_weights(self.shape.weights, q, k, hidden)
        if maps is not None:
            maps.append(weights.detach())
        out = weights @ v
        if self.value is not None and self.key is None:
            out = out + self.value
        return self.out(out.transpose(1, 2).flatten(2))

    def projected(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys before they turn, as the shape's `content` has them, and values; each [B, H, T, D]."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.shape.heads, -1)).permute(2, 0, 3, 1, 4)
        if self.fixed is not None:
            return self.fixed[0].expand_as(q), self.fixed[1].expand_as(k), v
        if self.shape.content == "centred":
            counts = torch.arange(1, q.shape[2] + 1, dtype=q.dtype, device=q.device)[:, None]  # of tokens so far: no query
            return q - q.cumsum(2) / counts, k - k.cumsum(2) / counts, v  # may learn of later ones
        return q, k, v


def attention_weights(kind: Weights, q: Tensor, k: Tensor, hidden: Tensor) -> Tensor:
    """What each query [.., T, D] takes of each key's value, [.., T, keys]; nothing where `hidden`."""
    if kind.endswith("elu"):
        q, k = F.elu(q) + 1, F.elu(k) + 1
    scores = q @ k.mT * q.shape[-1] ** -0.5
    if kind == "softmax":
        return scores.masked_fill(hidden, -torch.inf).softmax(-1)
    weights = (scores.sigmoid() if kind.endswith("sigmoid") else scores).masked_fill(hidden, 0.0)
    return weights / weights.sum(-1, keepdim=True).clamp_min(1e-6) if kind.startswith("normalised") else weights


def visible(shape: Shape, length: int) -> Tensor:
    """Which keys [T, T] each query sees: earlier ones, within the window, and the prefix."""
    places = torch.arange(length, dtype=torch.long, device="cpu")
    q, k = places[:, None], places[None]
    seen = k <= q
    if shape.window:
        seen &= k > q - shape.window
    return seen | (k < shape.prefix) if shape.prefix > 1 else seen


def rotary(shape: Shape, length: int) -> Tensor:
    """Cosines and sines [2, T, D / 2]; pairs outside the shape's wavelengths do not turn."""
    half = shape.head_dim // 2
    speeds = shape.base ** (-torch.arange(half, dtype=torch.float32, device="cpu") / half)
    low, high = shape.wavelengths
    turns = (2 * torch.pi / speeds >= low) & (2 * torch.pi / speeds < high)
    angles = torch.arange(length, dtype=torch.float32, device="cpu")[:, None] * speeds * turns
    return torch.stack((angles.cos(), angles.sin()))


def turned(x: Tensor, rotation: Tensor) -> Tensor:
    """x [B, H, T, D] with the pairs (l, l + D / 2) turned."""
    (a, b), (cos, sin) = x.chunk(2, -1), rotation
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)
