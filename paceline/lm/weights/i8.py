"""Weights in bytes: signed codes, or 0 … 31 where there are minima; what is no 4-bit format is widened to one of these."""

import torch

from paceline.lm.weights.blocks import BLOCK, Field, Form, Parts

__all__ = ["I8", "I8_MINIMUM", "I8_SIXTEENS", "I8_TWO_LEVEL", "quantized"]

CODES, HALF, BYTE = Field(torch.int32, 8), Field(torch.float16), Field(torch.uint8)

I8 = Form(5, {"codes": CODES, "scale": HALF})
I8_MINIMUM = Form(6, {"codes": CODES, "scale": HALF, "minimum": HALF})
I8_TWO_LEVEL = Form(7, {"codes": CODES, "sc": BYTE, "m": BYTE}, {"d": HALF, "dmin": HALF})
I8_SIXTEENS = Form(8, {"codes": CODES, "sc": Field(torch.int8, 2)}, {"d": HALF})


def quantized(weight: torch.Tensor) -> Parts:
    """A weight [out, in] as fields of `I8`: multiples -127 … 127 of a scale for each block, halves away from zero, as ggml's
    Q8_0.
    """
    blocks = weight.float().unflatten(1, (-1, 1, BLOCK))
    scale = blocks.abs().amax(-1, keepdim=True) / 127
    scaled = blocks * torch.where(scale == 0, 0, scale.reciprocal())
    codes = (scaled.double().abs() + 0.5).floor().copysign(scaled).to(torch.int8)  # in fp64 the sum is exact
    return {"codes": codes.view(torch.int32), "scale": scale.half()}
