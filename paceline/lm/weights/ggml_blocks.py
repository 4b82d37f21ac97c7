"""The bytes of ggml's block types, read into the fields of the forms that there are kernels for (`blocks.Form`).

What each byte means is read off ggml's reference (`ggml-quants.c`, the package `gguf`). A reader takes raw blocks, uint8 [out,
blocks, bytes], and gives each field's bytes; of codes of 8 bits, a block's 32 inputs one after the other.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch

from paceline.lm.weights.blocks import BLOCK, Form
from paceline.lm.weights.i8 import I8, I8_MINIMUM, I8_SIXTEENS, I8_TWO_LEVEL
from paceline.lm.weights.layout import TILE
from paceline.lm.weights.u4 import U4, U4_TWO_LEVEL

__all__ = ["KINDS", "Kind"]

Fields = Mapping[str, torch.Tensor]
IQ4 = torch.tensor((-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113),
                   dtype=torch.int8, device="cpu")


def half(raw: torch.Tensor, start: int) -> torch.Tensor:
    return raw[..., start : start + 2].contiguous().view(torch.float16)


def nibbles(pairs: torch.Tensor) -> torch.Tensor:
    """Two codes a byte as two bytes: [..., n] -> [..., 2 n], lower halves first."""
    return torch.cat((pairs & 15, pairs >> 4), -1)


def iq4(pairs: torch.Tensor) -> torch.Tensor:
    """The numbers for which the codes of IQ4 types stand."""
    codes = nibbles(pairs)
    return IQ4.index_select(0, codes.flatten().int()).view(codes.shape)


def fifth_bits(raw: torch.Tensor, start: int) -> torch.Tensor:
    """16 for each of 32 inputs whose bit is set in the 4 bytes from `start`."""
    return one_bit(raw[..., start : start + 4, None]).flatten(-3) << 4


def one_bit(raw: torch.Tensor) -> torch.Tensor:
    """The eight bits of each byte, lowest first: [..., n] -> [..., 8, n]."""
    return raw[..., None, :] >> torch.arange(8, dtype=torch.uint8, device="cpu")[:, None] & 1


def two_bits(raw: torch.Tensor) -> torch.Tensor:
    """The four two-bit numbers of each byte, lowest first: [..., n] -> [..., 4, n]."""
    return raw[..., None, :] >> torch.tensor((0, 2, 4, 6), dtype=torch.uint8, device="cpu")[:, None] & 3


def six_bits(raw: torch.Tensor) -> Fields:
    """Scales and minima of the eight blocks of Q4_K and Q5_K from their 12 bytes."""
    low, high, rest = raw.unflatten(-1, (3, 4)).unbind(-2)
    sc = torch.cat((low & 63, rest & 15 | low >> 2 & 48), -1)
    m = torch.cat((high & 63, rest >> 4 | high >> 2 & 48), -1)
    return {"sc": sc[..., None], "m": m[..., None]}


def q4_0(raw: torch.Tensor) -> Fields:
    scale = half(raw, 0)
    return {"codes": raw[..., 2:], "scale": scale, "minimum": scale * -8}


def q4_1(raw: torch.Tensor) -> Fields:
    return {"codes": raw[..., 4:], "scale": half(raw, 0), "minimum": half(raw, 2)}


def q5_0(raw: torch.Tensor) -> Fields:
    return {"codes": (nibbles(raw[..., 6:]) | fifth_bits(raw, 2)) - 16, "scale": half(raw, 0)}


def q5_1(raw: torch.Tensor) -> Fields:
    return {"codes": nibbles(raw[..., 8:]) | fifth_bits(raw, 4), "scale": half(raw, 0), "minimum": half(raw, 2)}


def q8_0(raw: torch.Tensor) -> Fields:
    return {"codes": raw[..., 2:], "scale": half(raw, 0)}


def iq4_nl(raw: torch.Tensor) -> Fields:
    return {"codes": iq4(raw[..., 2:]), "scale": half(raw, 0)}


def iq4_xs(raw: torch.Tensor) -> Fields:
    low = torch.stack((raw[..., 4:8] & 15, raw[..., 4:8] >> 4), -1).flatten(-2)
    sc = ((low | two_bits(raw[..., 2:4, None]).flatten(-3) << 4) - 32)[..., None]
    return {"codes": iq4(raw[..., 8:].unflatten(-1, (8, 16))), "d": half(raw, 0), "sc": torch.cat((sc, sc), -1)}


def q4_k(raw: torch.Tensor) -> Fields:
    first, second = raw[..., 16:].unflatten(-1, (4, 2, 16)).unbind(-2)  # of each pair of blocks, which share their bytes
    codes = torch.stack((first & 15 | second << 4, first >> 4 | second & 240), -2)
    return {"codes": codes.flatten(-3, -2), "d": half(raw, 0), "dmin": half(raw, 2), **six_bits(raw[..., 4:16])}


def q5_k(raw: torch.Tensor) -> Fields:
    codes = nibbles(raw[..., 48:].unflatten(-1, (4, 32))).unflatten(-1, (2, 32)).flatten(-3, -2)
    return {"codes": codes | one_bit(raw[..., 16:48]) << 4, "d": half(raw, 0), "dmin": half(raw, 2), **six_bits(raw[..., 4:16])}


def q6_k(raw: torch.Tensor) -> Fields:
    low = nibbles(raw[..., :128].unflatten(-1, (2, 64))).unflatten(-1, (4, 32)).flatten(-3, -2)
    codes = (low | two_bits(raw[..., 128:192].unflatten(-1, (2, 32))).flatten(-3, -2) << 4) - 32
    return {"codes": codes, "d": half(raw, 208), "sc": raw[..., 192:208].unflatten(-1, (8, 2))}


def q3_k(raw: torch.Tensor) -> Fields:
    codes = (two_bits(raw[..., 32:96].unflatten(-1, (2, 32))).flatten(-3, -2) | one_bit(raw[..., :32]) << 2) - 4
    sc = nibbles(raw[..., 96:104]) | two_bits(raw[..., 104:108]).flatten(-2) << 4
    return {"codes": codes, "d": half(raw, 108), "sc": (sc - 32).unflatten(-1, (8, 2))}


class Kind(NamedTuple):
    """A block type: what it becomes, a block's bytes in the file, and how they are read."""

    form: Form
    bytes: int
    fields: Callable[[torch.Tensor], Fields]

    @property
    def inputs(self) -> int:
        return BLOCK * self.form.blocks

    @property
    def bits(self) -> int:
        """Of a code as it is held here."""
        return self.form.block["codes"].bytes * 8 // (TILE * BLOCK)

    @property
    def growth(self) -> float:
        """Bytes here for each in the file."""
        head, size = self.form.sizes
        return (head + self.form.blocks * size) / (TILE * self.bytes)


KINDS = {
    "Q4_0": Kind(U4, 18, q4_0), "Q4_1": Kind(U4, 20, q4_1), "Q4_K": Kind(U4_TWO_LEVEL, 144, q4_k),
    "Q5_0": Kind(I8, 22, q5_0), "Q5_1": Kind(I8_MINIMUM, 24, q5_1), "Q5_K": Kind(I8_TWO_LEVEL, 176, q5_k),
    "Q8_0": Kind(I8, 34, q8_0), "IQ4_NL": Kind(I8, 18, iq4_nl), "IQ4_XS": Kind(I8_SIXTEENS, 136, iq4_xs),
    "Q3_K": Kind(I8_SIXTEENS, 110, q3_k), "Q6_K": Kind(I8_SIXTEENS, 210, q6_k),
}  # fmt: skip
