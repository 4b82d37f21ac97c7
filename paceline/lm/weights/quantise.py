"""Dense weights quantised when a model is loaded."""

from dataclasses import replace
from typing import Any

import torch

from paceline.errors import ModelError
from paceline.lm.decoder import Decoder, Norm, changed
from paceline.lm.weights import i8, u4
from paceline.lm.weights.blocks import BLOCK, Blocks, blocks_of
from paceline.lm.weights.dense import Dense

__all__ = ["KINDS", "quantized", "quantized_decoder"]

KINDS = {"u4": (u4.U4, u4.quantized), "i8": (i8.I8, i8.quantized)}
PART = 1 << 22  # weights rounded at once, so that what is computed on the way stays small


def quantized(weights: Dense, kind: str, activations: str, gated: bool = False) -> Blocks:
    """The same linear in 4 bits ("u4", 5 bits a weight with scales) or in bytes ("i8", 8.5 bits), its bias in fp32. activations,
    gated: as `Blocks` says. Raises ModelError for a width that blocks of 32 do not divide and for weights beyond fp16.
    """
    width = weights.shape[1]
    if width % BLOCK:
        raise ModelError(f"Weights in {kind} have blocks of {BLOCK} inputs; found a linear of {width}. Load the model without "
                         "weights=.")
    form, rounded = KINDS[kind]
    pieces = [rounded(piece) for piece in weights.weight.detach().split(max(1, PART // width))]
    parts = {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}
    bias = None if weights.bias is None else weights.bias.detach().float()
    return blocks_of(form, parts, activations, bias, gated)


def quantized_decoder(decoder: Decoder, kind: str, activations: str) -> Decoder:
    """The same decoder, computed in fp32, with its dense linears in `kind` ("u4" or "i8"), and its embedding and head in "i8",
    since they lose most by rounding. activations: "int8" or "float" (`blocks.py`).

    Raises ModelError for a width that blocks of 32 do not divide.
    """

    def change(name: str, part: Any) -> Any:
        if isinstance(part, Norm):
            return Norm(part.weight.float(), part.eps)
        format = "i8" if name in ("embed", "head") else kind
        return quantized(part, format, activations, name == "gate_up") if isinstance(part, Dense) else part

    embed, layers = change("embed", decoder.embed), [changed(layer, change) for layer in decoder.layers]
    head = embed if tied(decoder) else change("head", decoder.head)
    return replace(decoder, layers=layers, embed=embed, norm=change("norm", decoder.norm), head=head)


def tied(decoder: Decoder) -> bool:
    """Whether the head is the embedding."""
    embed, head = decoder.embed, decoder.head
    return (isinstance(embed, Dense) and isinstance(head, Dense) and head.bias is None and head.shape == embed.shape
            and head.weight.data_ptr() == embed.weight.data_ptr())
