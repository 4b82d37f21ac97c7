"""Attention for training on a CPU: scores in blocks of queries, masked in place.

The fused CPU kernel computes every masked score, and its backward is slow: on packed rows of 512 tokens, bf16, plain
matrix products over the visible triangle's blocks took less than half its time, forward and backward together.
Registered with transformers, so the stock model classes run it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from paceline.errors import ModelError

__all__ = ["MEMORY", "attend", "attend_blocks", "use_block_attention"]

_NAME = "paceline_blocks"
MEMORY = "paceline_memory"
_BLOCK = 128  # queries at once; 256 was slower


def attend_blocks(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor, scaling: float, **options: Any
) -> tuple[Tensor, None]:
    """Causal attention under ``attention_mask [B, 1, T, T]`` (additive); a block of queries sees no key after its end.

    ``query [B, H, T, D]``, ``key`` and ``value [B, H_kv, T, D]``; gives ``[B, T, H, D]``. Scores are rounded to the
    inputs' dtype before the softmax, as in transformers' eager attention. A dict passed to the model's forward as ``MEMORY``
    receives every layer's rotated keys and values, which draft heads read. A layer's window is in its mask (`masks.py`).
    """
    refused = [name for name in ("softcap", "s_aux") if options.get(name) is not None]
    if refused:
        raise ModelError(f"{type(module).__name__} uses {refused[0]} in attention, which training here does not compute.")
    if MEMORY in options:
        options[MEMORY][module.layer_idx] = key, value
    return attend(query, key, value, attention_mask, scaling), None


def attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, scaling: float) -> Tensor:
    """The same for any caller; gives ``[B, T, H, D]``. Every query must see a key."""
    dtype = value.dtype  # under autocast the rotation may have lifted the others to fp32
    if query.device.type != "cpu":
        out = scaled_dot_product_attention(query.to(dtype), key.to(dtype), value, mask.to(dtype), scale=scaling, enable_gqa=True)
        return out.transpose(1, 2)
    return _Blocks.apply((query * scaling).to(dtype), key.to(dtype), value, mask.to(dtype))


class _Blocks(torch.autograd.Function):
    """Softmax attention with its gradient written out: half of autograd's passes over the scores, and no copies of keys.

    The queries that share a key head stand beside each other, token by token, as rows ``[B * H_kv, T * G, D]``.
    """

    @staticmethod
    def forward(ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
        b, h, t, d = query.shape
        ctx.shape = (b, key.shape[1], t, h // key.shape[1], d)
        q, k, v = _rows(query, ctx.shape[1]), key.reshape(-1, t, d).contiguous(), value.reshape(-1, t, d).contiguous()
        out, kept = torch.empty_like(q), []
        for rows, stop in _blocks(ctx.shape):
            scores = torch.bmm(q[:, rows], k[:, :stop].mT)
            start = rows.start // ctx.shape[3]
            scores.view(b, ctx.shape[1], stop - start, -1, stop).add_(mask[:, :, start:stop, None, :stop])
            kept.append(torch.softmax(scores, -1, dtype=scores.dtype))
            out[:, rows] = torch.bmm(kept[-1], v[:, :stop])
        ctx.save_for_backward(q, k, v, *kept)
        return _heads(out, ctx.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, *kept = ctx.saved_tensors
        b, h_kv, t, g, d = ctx.shape
        grad = _rows(grads[0].transpose(1, 2), h_kv).to(q.dtype)
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        for (rows, stop), law in zip(_blocks(ctx.shape), kept, strict=True):
            dv[:, :stop] += torch.bmm(law.mT, grad[:, rows])
            slope = torch.bmm(grad[:, rows], v[:, :stop].mT)
            # Their mean under the softmax, from these very numbers: of rounded outputs it would not cancel.
            slope.sub_((slope * law).sum(-1, keepdim=True, dtype=torch.float32)).mul_(law)
            dq[:, rows] = torch.bmm(slope, k[:, :stop])
            dk[:, :stop] += torch.bmm(slope.mT, q[:, rows])
        return _heads(dq, ctx.shape).transpose(1, 2), dk.view(b, h_kv, t, d), dv.view(b, h_kv, t, d), None


def _blocks(shape: tuple[int, int, int, int, int]) -> Iterator[tuple[slice, int]]:
    """(rows of a block of queries, first key that it does not see)."""
    t, g = shape[2], shape[3]
    for start in range(0, t, _BLOCK):
        stop = min(start + _BLOCK, t)
        yield slice(start * g, stop * g), stop


def _rows(x: Tensor, h_kv: int) -> Tensor:
    """``[B, H, T, D]`` as ``[B * H_kv, T * G, D]``."""
    b, h, t, d = x.shape
    return x.reshape(b, h_kv, h // h_kv, t, d).transpose(2, 3).reshape(b * h_kv, -1, d)


def _heads(x: Tensor, shape: tuple[int, int, int, int, int]) -> Tensor:
    """Back to ``[B, T, H, D]``."""
    b, h_kv, t, g, d = shape
    return x.view(b, h_kv, t, g, d).transpose(1, 2).reshape(b, t, h_kv * g, d)


def use_block_attention(model: PreTrainedModel) -> None:
    """Let ``model`` run ``attend_blocks``; from then on its forward needs a 4-D mask and full sequences, no cache."""
    AttentionInterface.register(_NAME, attend_blocks)
    model.set_attn_implementation(_NAME)
