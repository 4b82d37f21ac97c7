"""Fresh Llama models of a given size."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

__all__ = ["Size", "new_llama"]


@dataclass(frozen=True)
class Size:
    """Shape of a model, and the rows it is trained on: ``rows`` x ``length`` tokens a step."""

    width: int
    layers: int
    heads: int
    kv_heads: int
    ffn: int
    vocabulary: int = 4096
    context: int = 2048
    rows: int = 16
    length: int = 512


def new_llama(size: Size, tokenizer: PreTrainedTokenizerBase, seed: int) -> LlamaForCausalLM:
    """A Llama of that size for ``tokenizer``: fp32, tied embeddings, weights drawn with ``seed``."""
    torch.manual_seed(seed)
    shape = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        head_dim=size.width // size.heads,
        intermediate_size=size.ffn,
        max_position_embeddings=size.context,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(shape)
