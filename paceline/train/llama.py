"""Fresh Llama models of a given size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

__all__ = ["Size", "llama_of", "new_llama"]


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
    ends = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return llama_of(size, len(tokenizer), seed, **ends)


def llama_of(size: Size, vocabulary: int, seed: int, **ids: Any) -> LlamaForCausalLM:
    """The same for a vocabulary of so many ids, of which ``ids`` names the special ones."""
    torch.manual_seed(seed)
    shape = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=size.width,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.kv_heads,
        head_dim=size.width // size.heads,
        intermediate_size=size.ffn,
        max_position_embeddings=size.context,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        tie_word_embeddings=True,
        **ids,
    )
    return LlamaForCausalLM(shape)
