"""Tensors of GGUF files, converted exactly to weights that there are kernels for."""

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import torch

from paceline.errors import ModelError
from paceline.lm.weights import Weights
from paceline.lm.weights.blocks import PART, Blocks, Form, Parts, blocks_of, fill
from paceline.lm.weights.dense import Dense
from paceline.lm.weights.dense import joined as dense
from paceline.lm.weights.ggml_blocks import KINDS
from paceline.lm.weights.layout import TILE
from paceline.lm.weights.stacked import Stacked

__all__ = ["DENSE", "joined", "weights_of"]

DENSE = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


def weights_of(kind: str, data: torch.Tensor, inputs: int, activations: str,
               bias: torch.Tensor | None = None, read: Callable[[], None] = lambda: None) -> Dense | Blocks:
    """A tensor of a GGUF file: data uint8 [out, bytes of a row], of the type that GGUF calls `kind`, as weights [out, inputs].

    Exact: every weight is the number that ggml's own dequantisation gives. activations: "int8" or "float" (`blocks.Blocks`).
    F32, F16 and BF16 become fp32. read: called when some of the data has been read, so that a map's pages can go. Raises
    ModelError for other types, widths that blocks do not divide and broken scales.
    """
    if kind in DENSE:
        return Dense(data.contiguous().view(DENSE[kind]).float(), bias)
    if kind not in KINDS:
        raise ModelError(f"Weights of the type {kind} cannot be read; known are {', '.join(sorted([*DENSE, *KINDS]))}.")
    form, size, fields = KINDS[kind]
    width = KINDS[kind].inputs
    if inputs % width or data.shape[1] != inputs // width * size:
        raise ModelError(f"Weights of the type {kind} have blocks of {width} inputs in {size} bytes; found rows of {inputs} "
                         f"inputs in {data.shape[1]} bytes.")
    shape = (len(data), inputs)
    tiles = form.empty(shape, data.device)
    for some, rows in zip(tiles.split(PART), data.split(PART * TILE), strict=True):
        fill(form, some, placed(form, fields(rows.unflatten(1, (-1, size)))))
        read()
    return Blocks(form, tiles, shape, activations, bias)


def placed(form: Form, fields: Mapping[str, torch.Tensor]) -> Parts:
    """Fields in elements of their types, and with an axis for the blocks of a group where a block has none."""
    typed = {name: fields[name].contiguous().view(field.dtype) for name, field in {**form.group, **form.block}.items()}
    return {name: part if part.dim() == 4 else part[:, :, None] for name, part in typed.items()}


def joined(weights: Sequence[Weights], gated: bool = False) -> Weights:
    """Linears that share their input as one, in this order; a `Stacked` where formats differ. gated: gate and up, whose tiles
    then lie in turn, as compiled code wants them; one weight that holds both may be given alone.
    """
    runs = [list(run) for _, run in groupby(weights, format_of)]
    parts = [one(run, gated and len(runs) == 1) for run in runs]
    return parts[0] if len(parts) == 1 else Stacked(parts, gated)


def format_of(weights: Weights) -> object:
    return (weights.form.kernel, weights.activations) if isinstance(weights, Blocks) else type(weights)


def one(weights: list[Any], gated: bool) -> Weights:
    """Weights of one format."""
    first, biases = weights[0], [each.bias for each in weights]
    if isinstance(first, Dense):
        return dense([each.weight for each in weights], biases)
    if len(weights) == 1 and first.gated is gated:
        return first
    bias = None if all(b is None for b in biases) else torch.cat(
        [torch.zeros(each.shape[0], dtype=torch.float32, device="cpu") if each.bias is None else each.bias for each in weights])
    outputs = sum(each.shape[0] for each in weights)
    if outputs % (TILE * (1 + gated)) == 0 and not any(each.shape[0] % TILE or each.gated for each in weights):
        tiles = [each.tiles for each in weights]  # which stay as they are
        halves = tiles if len(tiles) == 2 else torch.cat(tiles).chunk(2)
        joint = torch.stack(list(halves), 1).flatten(0, 1) if gated else torch.cat(tiles)
        return Blocks(first.form, joint, (outputs, first.shape[1]), first.activations, bias, gated)
    parts = [each.parts() for each in weights]
    whole = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return blocks_of(first.form, whole, first.activations, bias, gated)
