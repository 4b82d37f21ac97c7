"""Encoders: what a text's words are turned into, H [B, n, k], before they meet the classes."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import pad
from transformers import AutoConfig, AutoModel, PreTrainedModel

from paceline.errors import ModelError
from paceline.lm.load import quiet, resolve
from paceline.lm.places import MINILM, minilm
from paceline.models.exam.config import ExamConfig

__all__ = ["Gru", "Pretrained", "Region", "encoder_for", "encoder_place", "weights_of"]


class Region(nn.Module):
    """Word-context region embedding: H_i = max over t of K_{w_i}[t] * e_{w_{i+t}}, element by element, t in -s … s.

    Each word owns a matrix K [2 s + 1, k] that says how it colours its neighbours; the maximum keeps the strongest. Source: Qiao
    et al., ICLR 2018, as EXAM (arXiv 1811.09386) uses it. Departures: places beyond the text are zeros for their neighbours
    and are not learned, and all n places are kept (the code loses s at each end).
    """

    def __init__(self, config: ExamConfig) -> None:
        super().__init__()
        rows, self.size = 1 + config.words + config.buckets, 2 * config.radius + 1
        self.words = nn.Embedding(rows, config.width, padding_idx=0, sparse=True)
        self.units = nn.Embedding(rows, config.width * self.size, padding_idx=0, sparse=True)
        self.width = config.width

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        reach = self.size // 2
        near = pad(self.words(ids), (0, 0, reach, reach)).unfold(1, self.size, 1)  # [B, n, k, 2 s + 1]
        return (self.units(ids).unflatten(-1, (self.width, self.size)) * near).amax(-1)


class Gru(nn.Module):
    """H_i = the state of a GRU behind word i. Source: EXAM, section 4; the paper does not say how many layers, the code has 2."""

    def __init__(self, config: ExamConfig) -> None:
        super().__init__()
        self.words = nn.Embedding(1 + config.words + config.buckets, config.width, padding_idx=0, sparse=True)
        self.gru = nn.GRU(config.width, config.width, config.layers, batch_first=True)
        self.width = config.width

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.gru(self.words(ids))[0]


class Pretrained(nn.Module):
    """H_i = the last hidden state of any Hugging Face encoder at token i."""

    def __init__(self, config: ExamConfig) -> None:
        super().__init__()
        settings = AutoConfig.for_model(**(config.pretrained or {}))
        self.body = AutoModel.from_config(settings)
        self.width = settings.hidden_size

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        return self.body(input_ids=ids, attention_mask=mask.long()).last_hidden_state


Encoder = Region | Gru | Pretrained
KINDS: dict[str, type[Encoder]] = {"region": Region, "gru": Gru, "pretrained": Pretrained}


def encoder_for(config: ExamConfig) -> Encoder:
    """An encoder with fresh weights; `width` is its k."""
    return KINDS[config.encoder](config)


def encoder_place(name: str) -> Path:
    """The folder or hub id of a Hugging Face encoder; `minilm` is the one that an installed package carries."""
    return minilm() if name == MINILM else Path(resolve(name))


def weights_of(name: str) -> PreTrainedModel:
    """A Hugging Face encoder with its weights, in fp32. Raises ModelError where it cannot be had."""
    try:
        with quiet():
            return AutoModel.from_pretrained(str(encoder_place(name)), dtype=torch.float32)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"Cannot load the encoder {name!r}: expected region, gru, {MINILM}, a folder or a hub id "
                         f"({str(error).splitlines()[0]}).") from error
