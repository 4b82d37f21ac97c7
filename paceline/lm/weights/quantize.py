"""Dense weights quantised when a model is loaded."""

import torch

from paceline.errors import ModelError
from paceline.lm.weights import i8, u4
from paceline.lm.weights.blocks import BLOCK, Blocks, blocks_of
from paceline.lm.weights.dense import Dense

__all__ = ["KINDS", "quantized"]

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
