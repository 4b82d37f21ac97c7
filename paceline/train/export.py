"""Writes a trained model as a folder that transformers, and so `paceline.load`, reads."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from paceline.train.checkpoint import replace_folder

__all__ = ["in_bf16", "write_model"]


def in_bf16(model: PreTrainedModel) -> PreTrainedModel:
    """A copy of ``model`` with its weights rounded to bf16, as they ship, and the stock attention."""
    config = copy.deepcopy(model.config)
    config._attn_implementation = "sdpa"
    rounded = type(model)(config).bfloat16()
    rounded.load_state_dict(model.state_dict())
    return rounded.eval()


def write_model(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    ends: tuple[str, ...],
    extra: Callable[[Path], object] = lambda fresh: None,
) -> Path:
    """Put a model folder in place at once: bf16 weights, configuration, tokenizer and what ``extra`` writes into it.

    ``ends``: the tokens at which generation stops.
    """
    rounded = in_bf16(model)
    rounded.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=[tokenizer.convert_tokens_to_ids(end) for end in ends],
        pad_token_id=tokenizer.pad_token_id,
    )

    def write(fresh: Path) -> None:
        rounded.save_pretrained(fresh)
        tokenizer.save_pretrained(fresh)
        extra(fresh)

    return replace_folder(folder, write)
