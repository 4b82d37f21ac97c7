"""Quantised weights as the fp32 numbers they stand for: some six times the memory, and no unpacking at each use."""

from dataclasses import replace
from typing import Any

import torch

from paceline.lm.decoder import Decoder, changed
from paceline.lm.weights.blocks import Blocks
from paceline.lm.weights.dense import Dense, joined
from paceline.lm.weights.stacked import Stacked

__all__ = ["dense", "unpacked"]

LARGEST = 1 << 31  # bytes of fp32 layers; larger models stay as they are


def unpacked(decoder: Decoder) -> Decoder:
    """The same decoder with the linears of its layers in fp32, where they are small enough together."""
    linears = [part for layer in decoder.layers for part in vars(layer).values() if hasattr(part, "linear")]
    if 4 * sum(part.shape[0] * part.shape[1] for part in linears) > LARGEST:
        return decoder
    return replace(decoder, layers=[changed(layer, lambda name, part: dense(part)) for layer in decoder.layers])


def dense(part: Any) -> Any:
    """A quantised linear in fp32; any other part as it is."""
    if isinstance(part, Stacked):
        each = [dense(one) for one in part.parts]
        return joined([one.weight for one in each], [one.bias for one in each])
    if not isinstance(part, Blocks):
        return part
    return Dense(part.rows(torch.arange(part.shape[0], dtype=torch.long, device=part.tiles.device)), part.bias)
