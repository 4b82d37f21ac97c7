"""Blocked training attention equals the stock one, and nothing leaks across packed documents."""

from __future__ import annotations

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from paceline.train.attention import attend_blocks, use_block_attention
from paceline.train.packing import Batch, document_mask


def tiny_llama() -> LlamaForCausalLM:
    torch.manual_seed(0)
    shape = LlamaConfig(
        vocab_size=50,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        max_position_embeddings=1024,
    )
    return LlamaForCausalLM(shape).eval()


@pytest.mark.parametrize("length", [5, 256, 300, 600])
@pytest.mark.parametrize("kv_heads", [1, 4])
def test_equals_sdpa_under_the_same_mask(length: int, kv_heads: int) -> None:
    torch.manual_seed(length)
    q = torch.randn(2, 4, length, 8, requires_grad=True)
    k, v = (torch.randn(2, kv_heads, length, 8, requires_grad=True) for _ in range(2))
    mask = document_mask(torch.randint(0, 2, (2, length)).cumsum(1) // 20, torch.float32)
    ours, _ = attend_blocks(torch.nn.Module(), q, k, v, mask, scaling=8**-0.5)
    attend = torch.nn.functional.scaled_dot_product_attention
    theirs = attend(q, k, v, attn_mask=mask, enable_gqa=True).transpose(1, 2)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    weight = torch.randn_like(ours)
    for x, y in zip(*(torch.autograd.grad((o * weight).sum(), (q, k, v)) for o in (ours, theirs)), strict=True):
        torch.testing.assert_close(x, y, atol=1e-4, rtol=1e-3)


def logits(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    mask = document_mask(batch.documents, torch.float32)
    out = model(input_ids=batch.tokens, attention_mask=mask, position_ids=batch.positions, use_cache=False)
    return out.logits.detach()


@pytest.mark.parametrize("blocks", [False, True])
def test_a_packed_document_is_read_as_if_alone(blocks: bool) -> None:
    model = tiny_llama()
    if blocks:
        use_block_attention(model)
    tokens = torch.randint(0, 50, (1, 20))
    documents = torch.tensor([[0] * 8 + [1] * 12])
    positions = torch.cat([torch.arange(8), torch.arange(12)])[None]
    packed = logits(model, Batch(tokens, tokens, positions, documents))
    for rows in (slice(0, 8), slice(8, 20)):
        alone = Batch(tokens[:, rows], tokens, positions[:, rows], documents[:, rows])
        torch.testing.assert_close(packed[:, rows], logits(model, alone), atol=1e-5, rtol=1e-4)


def test_a_mask_without_boundaries_would_be_noticed() -> None:
    model = tiny_llama()
    tokens = torch.randint(0, 50, (1, 20))
    positions = torch.cat([torch.arange(8), torch.arange(12)])[None]
    one = logits(model, Batch(tokens, tokens, positions, torch.zeros_like(tokens)))
    two = logits(model, Batch(tokens, tokens, positions, torch.tensor([[0] * 8 + [1] * 12])))
    assert (one[:, 8:] - two[:, 8:]).abs().max() > 1e-3
