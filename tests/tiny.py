"""A tiny random Llama on disk, as `save_pretrained` writes it, and models that nearly agree with another."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

__all__ = ["nearly", "save_tiny", "shared_lm"]


@functools.lru_cache
def shared_lm(family: str = "llama", forward: str = "auto", packed: bool = False) -> Any:
    """A tiny `LM`, loaded once for all tests; nothing may change it."""
    import paceline
    from paceline.testing import tiny_model, toy_tokenizer

    return paceline.load(tiny_model(family), forward=forward, packed=packed, tokenizer=toy_tokenizer())


def nearly(lm: Any, noise: float = 0.02, seed: int = 0) -> Any:
    """The same model with noise on its weights: a draft model that is often right, and often wrong."""
    import torch

    import paceline

    model = copy.deepcopy(lm.model)
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.add_(noise * torch.randn(parameter.shape, generator=random).to(parameter) * parameter.std())
    return paceline.load(model, forward=lm.asked_forward, packed=lm.asked_packed, tokenizer=lm.tokenizer)


def save_tiny(folder: Path) -> Path:
    """Weights, config, a byte-level tokenizer and a chat template."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(["<eos>", *alphabet])}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    words = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>")
    words.chat_template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant: "
    words.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=257, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=512, tie_word_embeddings=True, eos_token_id=0, bos_token_id=None,
        initializer_range=0.2,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
