"""What a translation model is made of."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

from paceline.errors import RequestError, did_you_mean

__all__ = ["BOS", "EOS", "LEAK_FREE", "MASK", "PAD", "TranslationConfig"]

PAD, BOS, EOS, MASK = range(4)  # ids of the marks, in every vocabulary
LEAK_FREE = ("none", "transparent", "content-mlp", "unroll", "band-budget")
LEAST = {"vocabulary": 5, "width": 1, "heads": 1, "ffn": 1, "layers": 1, "decoder_layers": 1, "longest": 1, "order": 0}


class TranslationConfig(PreTrainedConfig):
    """Settings of a `Nat` or a `Markov`.

    vocabulary: subwords of both languages. width, heads, ffn; layers of the encoder; decoder_layers. longest: places on either
    side. dropout. pre_norm: norms stand in front of each part; else behind it, as in the papers. order: tokens that the next one
    may depend on, 0 = all; leak_free: how a decoder of several layers keeps to them (`Markov`).

    Raises RequestError for values that make no model.
    """

    model_type = "paceline_translation"
    vocabulary: int = 8000
    width: int = 256
    heads: int = 4
    ffn: int = 1024
    layers: int = 3
    decoder_layers: int = 3
    longest: int = 128
    dropout: float = 0.1
    pre_norm: bool = True
    order: int = 0
    leak_free: str = "none"

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.leak_free not in LEAK_FREE:
            raise RequestError(f"There is no way {self.leak_free!r} to keep an order.{did_you_mean(self.leak_free, LEAK_FREE)}")
        for name, least in LEAST.items():
            if getattr(self, name) < least:
                raise RequestError(f"Expected {name} of at least {least}, found {getattr(self, name)}.")
        if not 0 <= self.dropout < 1:
            raise RequestError(f"Expected dropout of at least 0 and below 1, found {self.dropout}.")
        if self.width % self.heads:
            raise RequestError(f"Expected width to be a multiple of heads, found {self.width} and {self.heads}.")
