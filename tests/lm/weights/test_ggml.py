"""Block types of GGUF files become our formats without losing a bit, and lie as compiled code reads them."""

from __future__ import annotations

import gguf
import numpy as np
import pytest
import torch
from torch.nn.functional import linear

from paceline.errors import ModelError
from paceline.lm.weights import Native, Weights
from paceline.lm.weights.blocks import BLOCK, Blocks, rounded
from paceline.lm.weights.dense import Dense
from paceline.lm.weights.ggml import DENSE, joined, weights_of
from paceline.lm.weights.ggml_blocks import KINDS
from paceline.lm.weights.layout import TILE
from paceline.lm.weights.stacked import Stacked

EVERY = [*KINDS, *DENSE]
EDGES = np.array([0.0, -0.0, 6e-8, -6e-8, 6.1e-5, 1.0, -1.0, 8188.0, -8188.0], np.float16)


def raw(kind: str, outputs: int, inputs: int, seed: int = 0, edges: bool = False) -> np.ndarray:
    """Rows of a file: any bytes at all, with scales as models have them; edges: the extreme ones, too."""
    rng = np.random.default_rng(seed)
    of, size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
    if kind in DENSE:
        return gguf.quants.quantize(rng.standard_normal((outputs, inputs), np.float32), gguf.GGMLQuantizationType[kind])
    data = rng.integers(0, 256, (outputs, inputs // of, size), np.uint8)
    scales = np.where(rng.random((*data.shape[:2], 2)) < 0.2 * edges, rng.choice(EDGES, (*data.shape[:2], 2)),
                      rng.standard_normal((*data.shape[:2], 2)) / 50).astype(np.float16).view(np.uint8)
    place = {"Q3_K": 108, "Q6_K": 208}.get(kind, 0)
    count = 4 if kind in ("Q4_1", "Q5_1", "Q4_K", "Q5_K") else 2
    data[..., place : place + count] = scales[..., :count]
    return data.reshape(outputs, -1)


def dequantised(kind: str, data: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(gguf.quants.dequantize(data, gguf.GGMLQuantizationType[kind]).copy())


def made(kind: str, data: np.ndarray, inputs: int, activations: str = "float", bias: torch.Tensor | None = None) -> Weights:
    return weights_of(kind, torch.from_numpy(data.view(np.uint8)), inputs, activations, bias)


@pytest.mark.parametrize("kind", EVERY)
def test_every_weight_is_what_ggml_says(kind: str) -> None:
    data = raw(kind, 70, 512, edges=True)
    weights, expected = made(kind, data, 512), dequantised(kind, data)
    ids = torch.tensor([[69, 0, 31], [32, 33, 0]])
    assert torch.equal(weights.rows(torch.arange(70)), expected) and torch.equal(weights.rows(ids), expected[ids])
    assert weights.shape == (70, 512) and weights.dtype is torch.float32
    assert torch.equal(made(kind, data[[5, 3]], 512).rows(torch.arange(2)), expected[[5, 3]])  # rows may be put in another order


@pytest.mark.parametrize("outputs", [40, 64])
@pytest.mark.parametrize("kind", KINDS)
def test_gate_and_up_lie_in_turn(kind: str, outputs: int) -> None:
    gate, up, x = raw(kind, outputs, 256, 1), raw(kind, outputs, 256, 2), torch.randn(2, 256)
    add = torch.randn(2, 2 * outputs)
    both = joined([made(kind, gate, 256), made(kind, up, 256)], gated=True)
    expected = torch.cat((dequantised(kind, gate), dequantised(kind, up)))
    assert torch.equal(both.rows(torch.arange(2 * outputs)), expected)
    torch.testing.assert_close(both.linear(x, add), linear(x, expected) + add)
    assert torch.equal(joined([joined([both], gated=True)]).rows(torch.arange(2 * outputs)), expected)  # there and back
    native, alone = both.native(gated=True), [made(kind, data, 256).native() for data in (gate, up)]
    assert native is not None and native.shape == (outputs, 256) and native.gated and both.native() is None
    for i, half in enumerate(alone):
        assert half is not None and torch.equal(native.tiles[i::2], half.tiles) and half.kind == native.kind


def test_the_layout_is_the_one_agreed_upon_with_compiled_code() -> None:
    """Read here byte by byte: outputs of a tile beside each other, four inputs of each in a row."""
    data = raw("Q4_1", 33, 64)
    native, expected = made("Q4_1", data, 64, "int8").native(), dequantised("Q4_1", data)
    assert isinstance(native, Native) and native.integer and native.kind == 3 and native.tiles.shape == (2, 2 * 640)
    for output, i in [(0, 0), (31, 15), (32, 16), (7, 63), (30, 37)]:
        block = native.tiles[output // TILE, i // BLOCK * 640 :][:640]
        g, j = i % 16 // 4, i % 4
        byte = block[g * 128 + output % TILE * 4 + j]
        scale, minimum = block[512:].view(torch.float16).float().view(2, TILE)[:, output % TILE]
        assert (byte >> (4 if i % BLOCK >= 16 else 0) & 15) * scale + minimum == expected[output, i]
    assert not native.tiles[1].view(2, 640)[:, :512].view(2, 4, TILE, 4)[:, :, 1:].any()  # gaps are zeros


@pytest.mark.parametrize(("kind", "number", "bytes"), [
    ("Q4_0", 3, 640), ("Q4_K", 4, 128 + 8 * 576), ("Q8_0", 5, 1088), ("Q5_0", 5, 1088), ("IQ4_NL", 5, 1088), ("Q5_1", 6, 1152),
    ("Q5_K", 7, 128 + 8 * 1088), ("Q6_K", 8, 64 + 8 * 1088), ("Q3_K", 8, 64 + 8 * 1088),
    ("IQ4_XS", 8, 64 + 8 * 1088)])  # fmt: skip
def test_forms_and_their_bytes(kind: str, number: int, bytes: int) -> None:
    inputs = KINDS[kind].inputs
    weights = made(kind, raw(kind, 64, inputs), inputs)
    assert (weights.kernel, weights.bytes) == (number, 2 * bytes)


def test_inputs_are_rounded_block_by_block() -> None:
    data = raw("Q8_0", 32, 64)
    x = torch.cat((torch.randn(2, 32), torch.zeros(2, 32)), 1) * 100
    x[0, 5] = 127 * 4.0
    near = rounded(x)
    assert torch.equal(near[0, :32], (x[0, :32] / 4).round() * 4) and not near[:, 32:].any()
    torch.testing.assert_close(made("Q8_0", data, 64, "int8").linear(x), linear(near, dequantised("Q8_0", data)))


@pytest.mark.parametrize("outputs", [40, 64])
def test_linears_that_share_their_input(outputs: int) -> None:
    q, k, v = (raw(kind, outputs, 256, i) for i, kind in enumerate(("Q4_K", "Q4_K", "Q6_K")))
    bias, none = torch.randn(outputs), torch.zeros(outputs)
    qkv = joined([made("Q4_K", q, 256), made("Q4_K", k, 256, bias=bias), made("Q6_K", v, 256)])
    assert isinstance(qkv, Stacked) and isinstance(qkv.parts[0], Blocks) and qkv.shape == (3 * outputs, 256)
    x = torch.randn(2, 256)
    whole = torch.cat([dequantised(kind, data) for kind, data in (("Q4_K", q), ("Q4_K", k), ("Q6_K", v))])
    torch.testing.assert_close(qkv.linear(x), linear(x, whole) + torch.cat((none, bias, none)))
    native = qkv.native()
    assert native and native.rest and (native.kind, native.shape) == (4, (2 * outputs, 256)) and native.rest.kind == 8
    assert qkv.bytes == native.tiles.numel() + native.rest.tiles.numel()
    dense = joined([made("F16", raw("F16", 4, 32), 32), made("BF16", raw("BF16", 4, 32), 32)])
    assert isinstance(dense, Dense) and dense.shape == (8, 32)


@pytest.mark.parametrize(("kind", "inputs", "bytes", "said"), [
    ("Q2_K", 256, 84, "Q2_K cannot be read; known are BF16"),
    ("Q4_0", 48, 27, "blocks of 32 inputs in 18 bytes; found rows of 48"),
    ("Q4_K", 288, 162, "blocks of 256 inputs"), ("Q8_0", 32, 33, "found rows of 32 inputs in 33 bytes")])  # fmt: skip
def test_what_cannot_be_read_is_refused(kind: str, inputs: int, bytes: int, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        weights_of(kind, torch.zeros(2, bytes, dtype=torch.uint8), inputs, "int8")


def test_broken_scales_are_refused() -> None:
    with pytest.raises(ModelError, match="the weights are damaged"):
        weights_of("Q8_0", torch.full((2, 34), 255, dtype=torch.uint8), 32, "int8")


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_type_grows_to_is_known_before(kind: str) -> None:
    data = torch.zeros(64, 512 // KINDS[kind].inputs * KINDS[kind].bytes, dtype=torch.uint8)
    held = weights_of(kind, data, 512, "int8")
    assert held.bytes == data.numel() * KINDS[kind].growth and KINDS[kind].bits == (4 if kind.startswith("Q4") else 8)
