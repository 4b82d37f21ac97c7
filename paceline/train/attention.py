"""Attention for training on a CPU: scores in blocks of queries, masked in place.

The fused CPU kernel computes every masked score, and its backward is slow: on packed rows of 512 tokens, bf16, plain
matrix products over the visible triangle's blocks took less than half its time, forward and backward together.
Registered with transformers, so the stock model classes run it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

__all__ = ["attend_blocks", "use_block_attention"]

_NAME = "paceline_blocks"
_BLOCK = 256  # queries at once; 128 and 512 were slower


def attend_blocks(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor, scaling: float, **options: Any
) -> tuple[Tensor, None]:
    """Causal attention under ``attention_mask [B, 1, T, T]`` (additive); a block of queries sees no key after its end.

    ``query [B, H, T, D]``, ``key`` and ``value [B, H_kv, T, D]``; gives ``[B, T, H, D]``. Scores are rounded to the
    inputs' dtype before the softmax, as in transformers' eager attention.
    """
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    query, mask, out = query * scaling, attention_mask.to(query.dtype), []
    for start in range(0, query.shape[2], _BLOCK):
        stop = start + _BLOCK
        scores = torch.matmul(query[:, :, start:stop], key[:, :, :stop].mT)
        scores.add_(mask[:, :, start:stop, :stop])
        out.append(torch.softmax(scores, -1, dtype=scores.dtype) @ value[:, :, :stop])
    return torch.cat(out, 2).transpose(1, 2), None


def use_block_attention(model: PreTrainedModel) -> None:
    """Let ``model`` run ``attend_blocks``; from then on its forward needs a 4-D mask and full sequences, no cache."""
    AttentionInterface.register(_NAME, attend_blocks)
    model.set_attn_implementation(_NAME)
