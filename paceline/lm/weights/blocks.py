"""Quantised weights: each output's inputs in blocks of 32, a small whole number (code) each, with a scale for a block.

They lie once, in the order in which compiled code reads them. A tile holds TILE outputs, block after block; in a block, field
after field (codes, scale, minimum); in a field, what the first of its elements is of every output, then the second: an element
of codes is 4 bytes, so that each lane of a vector register holds one output's. Two-level formats (llama.cpp's K types) have
groups of 8 blocks, and fields of a group before its blocks. The torch reference here unpacks from the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.nn.functional import linear, pad

from paceline.errors import ModelError
from paceline.lm.weights import Native
from paceline.lm.weights.layout import TILE

__all__ = ["BLOCK", "GROUP", "PART", "Blocks", "Field", "Form", "Parts", "blocks_of", "fill", "rounded"]

BLOCK, GROUP = 32, 8  # inputs of a block; blocks of a group
PART = 32  # tiles read or multiplied at once, so that what is unpacked of them stays small
TINY = 1e-30  # an input counts as zero below it; so a block of zeros has a scale, too

Parts = Mapping[str, torch.Tensor]  # field -> [out, groups, blocks of a group (1 for a group's own fields), elements]


class Field(NamedTuple):
    """What a block or a group holds of each output: `elements` of a type."""

    dtype: torch.dtype
    elements: int = 1

    @property
    def bytes(self) -> int:
        return self.elements * self.dtype.itemsize * TILE


class Form(NamedTuple):
    """A format by its fields. kernel: its number in compiled code. A weight is code * scale + minimum or, with two levels,
    code * (d * sc) - dmin * m; minima are left out where there are none, and `sc` has two elements where 16 inputs share one.
    """

    kernel: int
    block: Mapping[str, Field]
    group: Mapping[str, Field] = {}

    @property
    def blocks(self) -> int:
        """Blocks of a group."""
        return GROUP if self.group else 1

    @property
    def sizes(self) -> tuple[int, int]:
        """Bytes in a tile of a group's own fields and of a block."""
        head, size = (sum(field.bytes for field in level.values()) for level in (self.group, self.block))
        return head, size

    def empty(self, shape: tuple[int, int], device: torch.device, gated: bool = False) -> torch.Tensor:
        """Tiles [T, bytes] for weights [out, in], not yet filled; gated: of two halves."""
        (head, size), halves = self.sizes, 1 + gated
        count, groups = halves * -(-shape[0] // halves // TILE), shape[1] // (BLOCK * self.blocks)
        return torch.empty((count, groups * (head + self.blocks * size)), dtype=torch.uint8, device=device)

    def views(self, tiles: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
        """Each field of tiles [T, bytes], as [T, groups, blocks or 1, elements, TILE]."""
        head, size = self.sizes
        groups = tiles.unflatten(1, (-1, head + self.blocks * size))
        levels = (groups[:, :, None, :head], self.group), (groups[..., head:].unflatten(2, (self.blocks, size)), self.block)
        for level, fields in levels:
            start = 0
            for name, field in fields.items():
                part = level[..., start : start + field.bytes].view(field.dtype)
                yield name, part.unflatten(-1, (field.elements, TILE))
                start += field.bytes


def values(parts: Parts) -> torch.Tensor:
    """The weights [out, in] in fp32, exactly: products of codes and scales fit its 24 bits, so only a minimum rounds, once."""
    codes = parts["codes"].contiguous()
    if codes.shape[-1] == BLOCK // 8:  # two codes a byte: input i below, input i + 16 above
        pairs = codes.view(torch.uint8)
        codes = torch.cat((pairs & 15, pairs >> 4), -1)
    else:
        codes = codes.view(torch.int8)
    scale = parts["scale"].float() if "scale" in parts else parts["d"].float() * parts["sc"].float()
    weight = (codes.unflatten(-1, (scale.shape[-1], -1)) * scale[..., None]).flatten(-2)
    if "minimum" in parts:
        weight += parts["minimum"].float()
    if "dmin" in parts:
        weight -= parts["dmin"].float() * parts["m"].float()
    return weight.flatten(1)


def rounded(x: torch.Tensor) -> torch.Tensor:
    """Inputs [M, in] as multiplications of whole numbers see them: in each block of 32, multiples -127 … 127 of a scale, the
    largest magnitude / 127, rounded to the nearest, ties to even (x times 1 / scale, in fp32).
    """
    blocks = x.unflatten(-1, (-1, BLOCK))
    scale = blocks.abs().amax(-1, keepdim=True).clamp_min(TINY) / 127
    return ((blocks * scale.reciprocal()).round() * scale).flatten(-2)


@dataclass(frozen=True, eq=False, repr=False)
class Blocks:
    """Weights [out, in] = `shape` of one form; tiles: uint8 [T, bytes]; bias [out] or None. activations: "int8" multiplies
    rounded inputs (`rounded`), "float" those that come. gated: gate and up, each a half of the outputs, have tiles in turn.
    """

    form: Form
    tiles: torch.Tensor
    shape: tuple[int, int]
    activations: str
    bias: torch.Tensor | None = None
    gated: bool = False

    dtype = torch.float32

    @property
    def bytes(self) -> int:
        return self.tiles.numel()

    @property
    def kernel(self) -> int | None:
        return self.form.kernel if self.tiles.device.type == "cpu" else None

    def linear(self, x: torch.Tensor, add: torch.Tensor | None = None) -> torch.Tensor:
        if self.activations == "int8":
            x = rounded(x)
        out = torch.cat([self._multiplied(x, half) for half in self._halves()], -1)
        out = out if self.bias is None else out + self.bias
        return out if add is None else out + add

    def rows(self, ids: torch.Tensor) -> torch.Tensor:
        half, row = ids // self._outputs, ids % self._outputs
        tile, lane = row // TILE * (1 + self.gated) + half, row % TILE
        picked = {name: view[tile.flatten(), ..., lane.flatten()] for name, view in self.form.views(self.tiles)}
        return values(picked).unflatten(0, ids.shape)

    def native(self, gated: bool = False) -> Native | None:
        """As it lies. None where gate and up were not put in turn when this was made (`ggml.joined`)."""
        if self.kernel is None or gated != self.gated:
            return None
        shape = (self._outputs, self.shape[1])
        return Native(self.tiles, self.form.kernel, shape, gated, bias=self.bias, integer=self.activations == "int8")

    def parts(self) -> Parts:
        """Its fields, output by output: a copy."""
        halves = [unpacked(self.form, half, self._outputs) for half in self._halves()]
        return {name: torch.cat([half[name] for half in halves]) for name in halves[0]}

    @property
    def _outputs(self) -> int:
        """Of a half, where there are halves."""
        return self.shape[0] // (1 + self.gated)

    def _halves(self) -> list[torch.Tensor]:
        return [self.tiles[i :: 1 + self.gated] for i in range(1 + self.gated)]

    def _multiplied(self, x: torch.Tensor, tiles: torch.Tensor) -> torch.Tensor:
        made = [linear(x, values(unpacked(self.form, part, len(part) * TILE))) for part in tiles.split(PART)]
        return torch.cat(made, -1)[..., : self._outputs]


def unpacked(form: Form, tiles: torch.Tensor, outputs: int) -> Parts:
    """The fields of the first outputs of tiles [T, bytes]."""
    return {name: view.movedim(-1, 1).flatten(0, 1)[:outputs] for name, view in form.views(tiles)}


def blocks_of(form: Form, parts: Parts, activations: str, bias: torch.Tensor | None = None, gated: bool = False) -> Blocks:
    """Weights from their fields; gaps in the last tile are zeros. gated: halves of the outputs are gate and up.

    Raises ModelError where a scale or a minimum is no finite number of fp16.
    """
    (out, groups, blocks), halves = parts["codes"].shape[:3], 1 + gated
    shape = (out, groups * blocks * BLOCK)
    tiles = form.empty(shape, parts["codes"].device, gated)
    for i in range(halves):
        fill(form, tiles[i::halves], {name: part.chunk(halves)[i] for name, part in parts.items()})
    return Blocks(form, tiles, shape, activations, bias, gated)


def fill(form: Form, tiles: torch.Tensor, parts: Parts) -> None:
    """Lay fields out in tiles [T, bytes] of as many outputs, the last one's gaps as zeros. Raises ModelError as `blocks_of`."""
    if not all(part.sum(dtype=torch.float32).isfinite() for part in parts.values() if part.dtype is torch.float16):
        raise ModelError("Expected scales of quantised weights below 65,504; found larger ones or no numbers: the weights are "
                         "damaged, or too large for this format.")
    for name, view in form.views(tiles):
        part = parts[name]
        whole = pad(part, (0, 0, 0, 0, 0, 0, 0, gap)) if (gap := -len(part) % TILE) else part
        view.copy_(whole.unflatten(0, (-1, TILE)).movedim(1, -1))
