"""Weights in 4 bits: codes 0 … 15, input i of a block in a byte's lower half and input i + 16 in its upper one."""

import torch

from paceline.lm.weights.blocks import Field, Form

__all__ = ["U4", "U4_TWO_LEVEL"]

CODES, HALF, BYTE = Field(torch.int32, 4), Field(torch.float16), Field(torch.uint8)

U4 = Form(3, {"codes": CODES, "scale": HALF, "minimum": HALF})
U4_TWO_LEVEL = Form(4, {"codes": CODES, "sc": BYTE, "m": BYTE}, {"d": HALF, "dmin": HALF})
