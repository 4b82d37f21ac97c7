"""A decoder block of a draft head: self-attention, cross-attention over a target's keys and values, feed-forward."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention, silu

from paceline.lm.rotary import Rope, rope_of
from paceline.models.draft_head.shape import HeadShape

__all__ = ["Attend", "Block", "plain_attention", "rotary", "turn"]

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, float], torch.Tensor]


class Attention(nn.Module):
    """Projections of self-attention."""

    def __init__(self, shape: HeadShape) -> None:
        super().__init__()
        inner = shape.heads * shape.head_dim
        self.q_proj = nn.Linear(shape.width, inner, bias=shape.bias)
        self.k_proj = nn.Linear(shape.width, shape.kv_heads * shape.head_dim, bias=shape.bias)
        self.v_proj = nn.Linear(shape.width, shape.kv_heads * shape.head_dim, bias=shape.bias)
        self.o_proj = nn.Linear(inner, shape.width, bias=False)


class CrossAttention(nn.Module):
    """Projections of cross-attention: queries and output only."""

    def __init__(self, shape: HeadShape) -> None:
        super().__init__()
        inner = shape.target_heads * shape.target_head_dim
        self.q_proj = nn.Linear(shape.width, inner, bias=shape.bias)
        self.o_proj = nn.Linear(inner, shape.width, bias=False)
        self.norm = nn.RMSNorm(shape.width, shape.eps) if shape.cross_norm else None
        self.q_norm = nn.RMSNorm(shape.target_head_dim, shape.eps) if shape.q_norm else None


class FeedForward(nn.Module):
    def __init__(self, shape: HeadShape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.ffn, bias=False)
        self.up_proj = nn.Linear(shape.width, shape.ffn, bias=False)
        self.down_proj = nn.Linear(shape.ffn, shape.width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.down_proj(silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """One decoder block: self-attention, cross-attention, feed-forward, each added to the residual stream."""

    def __init__(self, shape: HeadShape, reads: bool) -> None:
        super().__init__()
        self.shape = shape
        self.input_layernorm = nn.RMSNorm(shape.width, shape.eps)
        self.self_attn = Attention(shape)
        self.cross_attn = CrossAttention(shape) if reads else None
        self.post_attention_layernorm = nn.RMSNorm(shape.width, shape.eps)
        self.mlp = FeedForward(shape)

    def forward(self, x: torch.Tensor, turns: Any, mask: torch.Tensor, memory: Any, seen: torch.Tensor,
                attend: Attend) -> torch.Tensor:
        """x [B, T, W]; turns: (cos, sin) of self- and of cross-attention; mask, seen: additive [B, 1, T, T] and [B, 1, T, S]."""
        s, a = self.shape, self.self_attn
        h = self.input_layernorm(x)
        q, k, v = (heads(p(h), s.head_dim) for p in (a.q_proj, a.k_proj, a.v_proj))
        x = x + a.o_proj(attend(turned(q, turns[0]), turned(k, turns[0]), v, mask, s.head_dim**-0.5).flatten(2))
        if self.cross_attn is not None:
            c = self.cross_attn
            q = heads(c.q_proj(c.norm(x) if c.norm is not None else x), s.target_head_dim)
            q = turned(c.q_norm(q) if c.q_norm is not None else q, turns[1])
            x = x + c.o_proj(attend(q, memory[0], memory[1], seen, s.target_head_dim**-0.5).flatten(2))
        return x + self.mlp(self.post_attention_layernorm(x))


def rotary(shape: HeadShape, dim: int) -> Rope:
    """The target's rotation for heads of this width; of kinds that are not known here transformers makes it."""
    if (known := rope_of(shape.rope, dim)) is not None:
        return known
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    config = LlamaConfig(hidden_size=dim, num_attention_heads=1, head_dim=dim, max_position_embeddings=shape.context,
                         rope_parameters=dict(shape.rope))
    made = LlamaRotaryEmbedding(config)
    return Rope(made.inv_freq, made.attention_scaling)


def turn(rope: Rope, positions: torch.Tensor, like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines [B, T, D] at these positions [B, T], in the dtype and on the device of `like`."""
    angles = (positions[..., None].float() * rope.frequencies.to(positions.device)).repeat(1, 1, 2)
    return (angles.cos() * rope.scale).to(like), (angles.sin() * rope.scale).to(like)


def heads(x: torch.Tensor, dim: int) -> torch.Tensor:
    """[B, T, H * D] as [B, H, T, D]."""
    return x.unflatten(-1, (-1, dim)).transpose(1, 2)


def turned(x: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Heads [B, H, T, D] rotated by cosines and sines [B, T, D]."""
    cos, sin = (t[:, None] for t in turn)
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat((-b, a), -1) * sin


def plain_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor, scale: float) -> torch.Tensor:
    """[B, T, H, D] from [B, H, T, D]; a token that may see nothing gets zeros."""
    out = scaled_dot_product_attention(q, k, v, attn_mask=mask.to(q.dtype), scale=scale, enable_gqa=True)
    return out.masked_fill((mask == -torch.inf).all(-1, keepdim=True), 0.0).transpose(1, 2)
