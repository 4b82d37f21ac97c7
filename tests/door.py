"""One tiny model behind transformers' `generate`, with and without the native door."""

from __future__ import annotations

from typing import Any

import torch

import paceline
from paceline.testing import tiny_model, toy_tokenizer

TOKENIZER = toy_tokenizer()
MODEL = tiny_model()
DRAFTERS = ["none", "ngram:min_n=1,worth=0"]
DOOR = paceline.accelerate(DRAFTERS[1])
NEW = 16


def inputs(*texts: str) -> dict[str, torch.Tensor]:
    return dict(TOKENIZER(list(texts), return_tensors="pt", padding=True, padding_side="left", return_token_type_ids=False))


def both(drafter: str, given: dict[str, Any], options: dict[str, Any] | None = None, **keywords: Any) -> tuple[Any, Any]:
    """(what transformers writes, what we write)."""
    keywords = {"max_new_tokens": NEW, "do_sample": False, **keywords}
    return (MODEL.generate(**given, **keywords),
            MODEL.generate(**given, **keywords, custom_generate=paceline.accelerate(drafter, **(options or {}))))
