"""Weights in the compiled forward's layout: nothing lost on the way there and back, nothing shared with the model."""

from __future__ import annotations

import pytest
import torch

from paceline.lm.weights import Native
from paceline.lm.weights.layout import PART, TILE, compact, tiles
from paceline.lm.weights.restored import rows_of


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int8])
@pytest.mark.parametrize(("rows", "inputs"), [(2 * TILE, 8), (2 * TILE - 6, 7), (TILE, 1)])
def test_tiles_hold_the_weight(rows: int, inputs: int, dtype: torch.dtype, gated: bool) -> None:
    weight = torch.randint(-99, 99, (rows * (1 + gated), inputs)).to(dtype)
    made = tiles(weight, gated)
    assert made.is_contiguous() and made.data_ptr() != weight.data_ptr()
    if dtype is torch.float32:
        assert torch.equal(rows_of(Native(made, 0, (rows, inputs), gated), 0, len(weight), dtype), weight)
    side = 4 // dtype.itemsize
    half = made[:, -1] if gated else made
    assert half.flatten(2).shape == (-(-rows // TILE), -(-inputs // side), TILE * side)
    assert torch.equal(half.reshape(len(half), -1, TILE, side)[0, 0, :, 0], weight[len(weight) - rows :][:TILE, 0])


def test_one_weight_that_bf16_cannot_hold_keeps_them_all() -> None:
    weight = torch.ones(3, PART)
    assert compact(weight).dtype is torch.bfloat16
    weight[-1, -1] += 2**-20
    assert compact(weight).dtype is torch.float32 and torch.equal(compact(weight), weight)
