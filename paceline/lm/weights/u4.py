"""Weights in 4 bits: codes 0 … 15, input i of a block in a byte's lower half and input i + 16 in its upper one."""

import torch

from paceline.lm.weights.blocks import BLOCK, Field, Form, Parts

__all__ = ["U4", "U4_TWO_LEVEL", "quantized"]

CODES, HALF, BYTE = Field(torch.int32, 4), Field(torch.float16), Field(torch.uint8)

U4 = Form(3, {"codes": CODES, "scale": HALF, "minimum": HALF})
U4_TWO_LEVEL = Form(4, {"codes": CODES, "sc": BYTE, "m": BYTE}, {"d": HALF, "dmin": HALF})


def quantized(weight: torch.Tensor) -> Parts:
    """A weight [out, in] as fields of `U4`: from the least to the largest of each block in 15 steps, as ggml's Q4_1."""
    blocks = weight.float().unflatten(1, (-1, 1, BLOCK))
    low, high = blocks.aminmax(dim=-1, keepdim=True)
    scale = (high - low) / 15
    inverse = torch.where(scale == 0, 0, scale.reciprocal())
    codes = ((blocks - low) * inverse + 0.5).clamp(0, 15).byte()
    pairs = codes[..., : BLOCK // 2] | codes[..., BLOCK // 2 :] << 4
    return {"codes": pairs.view(torch.int32), "scale": scale.half(), "minimum": low.half()}
