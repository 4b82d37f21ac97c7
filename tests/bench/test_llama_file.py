"""The layout llama.cpp reads: names of all weights, and queries and keys whose rotary pairs are neighbours."""

from __future__ import annotations

import torch

from paceline.bench.llama_file import gguf_tensors, interleave
from paceline.testing import tiny_lm


def rotated(x: torch.Tensor, neighbours: bool) -> torch.Tensor:
    """Rotary embedding of x [T, d], its pairs either neighbours (2i, 2i + 1) or halves (i, i + d/2)."""
    length, width = x.shape
    angle = torch.arange(length)[:, None] / 100.0 ** (torch.arange(width // 2) * 2 / width)
    a, b = (x[:, ::2], x[:, 1::2]) if neighbours else x.chunk(2, -1)
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], -1)


def test_attention_scores_survive_the_reordering() -> None:
    torch.manual_seed(0)
    heads, width, length = 3, 8, 5
    q, k, x = torch.randn(heads * width, 16), torch.randn(heads * width, 16), torch.randn(length, 16)
    for head in range(heads):
        rows = slice(head * width, (head + 1) * width)
        before = rotated(x @ q[rows].T, False) @ rotated(x @ k[rows].T, False).T
        there = [rotated(x @ interleave(w, heads)[rows].T, True) for w in (q, k)]
        torch.testing.assert_close(there[0] @ there[1].T, before)


def test_every_weight_has_a_name_there() -> None:
    lm = tiny_lm()
    weights = lm.model.state_dict()
    names = [name for name, _ in gguf_tensors(weights, lm.text_config.num_attention_heads, 1)]
    assert len(set(names)) == len(names) == len(weights)
    assert {"token_embd.weight", "output_norm.weight", "blk.0.attn_q.weight", "blk.1.ffn_down.weight"} <= set(names)
