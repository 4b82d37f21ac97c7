"""Weights in bytes: signed codes, or 0 … 31 where there are minima; what is no 4-bit format is widened to one of these."""

import torch

from paceline.lm.weights.blocks import Field, Form

__all__ = ["I8", "I8_MINIMUM", "I8_SIXTEENS", "I8_TWO_LEVEL"]

CODES, HALF, BYTE = Field(torch.int32, 8), Field(torch.float16), Field(torch.uint8)

I8 = Form(5, {"codes": CODES, "scale": HALF})
I8_MINIMUM = Form(6, {"codes": CODES, "scale": HALF, "minimum": HALF})
I8_TWO_LEVEL = Form(7, {"codes": CODES, "sc": BYTE, "m": BYTE}, {"d": HALF, "dmin": HALF})
I8_SIXTEENS = Form(8, {"codes": CODES, "sc": Field(torch.int8, 2)}, {"d": HALF})
