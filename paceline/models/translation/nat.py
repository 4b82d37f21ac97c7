"""A translator that writes all tokens of a sentence at once: CMLM, the conditional masked language model of Mask-Predict
(Ghazvininejad et al. 2019, arXiv 1904.09324), which OaXE and n-gram OaXE train.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from transformers import PreTrainedModel

from paceline.models.translation.body import Body, Source, real_tokens
from paceline.models.translation.config import TranslationConfig
from paceline.models.translation.layers import initialise

__all__ = ["Nat"]


class Nat(PreTrainedModel):
    """``model(source [B, S], target [B, T])`` gives logits ``[B, T, V]`` for all places of a target that is masked in whole or
    part (`config.MASK`), and the log-probabilities ``[B, longest + 1]`` of its length, which is never 0.

    Every place sees every other, and nothing of the source but through attention. The length is told by a learned vector in front
    of the source; its final state is compared with a vector for each length. Departures from the paper: targets have no marks of
    their own, so a length counts subwords; norms may stand in front (`config.pre_norm`), and embeddings have one.
    """

    config_class = TranslationConfig
    base_model_prefix = "body"
    config: TranslationConfig

    def __init__(self, config: TranslationConfig) -> None:
        super().__init__(config)
        self.body = Body(config)
        self.lengths = nn.Embedding(config.longest + 1, config.width)  # the first is what stands before the source
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        initialise(module)

    def read(self, source: Tensor) -> tuple[Source, Tensor]:
        """The source sentences ``[B, S]``, encoded, and the log-probabilities of their translations' lengths."""
        real = nn.functional.pad(real_tokens(source), (1, 0), value=True)
        asked = self.lengths.weight[:1].expand(len(source), 1, -1)
        hidden = self.body.encode(torch.cat([asked, self.body.embed_source(source)], 1), real)
        lengths = linear(hidden[:, 0], self.lengths.weight)
        impossible = torch.arange(lengths.shape[1], dtype=torch.long, device=lengths.device) == 0
        read = Source.of(hidden[:, 1:], real[:, 1:], [layer.rest for layer in self.body.layers])
        return read, lengths.masked_fill(impossible, -math.inf).log_softmax(-1)

    def forward(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        read, lengths = self.read(source)
        return self.decode(target, read), lengths

    def decode(self, target: Tensor, source: Source) -> Tensor:
        """Logits for all places of a target, one pass."""
        visible = real_tokens(target)[:, None, None]
        x = self.body.embed_target(target, torch.arange(target.shape[1], dtype=torch.long, device=target.device))
        for layer, keys in zip(self.body.layers, source.layers, strict=True):
            x = layer(x, layer.own.keys(x), visible, keys, source.seen)
        return self.body.logits(x)
