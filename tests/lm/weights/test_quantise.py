"""Weights quantised on load have the codes that ggml's own rounding gives."""

from __future__ import annotations

import gguf
import pytest
import torch

from paceline.errors import ModelError
from paceline.lm.weights.dense import Dense
from paceline.lm.weights.ggml import weights_of
from paceline.lm.weights.quantise import quantized


@pytest.mark.parametrize(("kind", "type"), [("u4", "Q4_1"), ("i8", "Q8_0")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_codes_are_those_of_a_file(kind: str, type: str, dtype: torch.dtype) -> None:
    weight = torch.randn(70, 96).to(dtype)
    weight[0], weight[1, :32], weight[2] = 0, 7, torch.arange(96) - 0.5  # nothing to scale; halves, which are rounded away
    bias = torch.randn(70).to(dtype)
    made = quantized(Dense(weight, bias), kind, "float")
    data = torch.from_numpy(gguf.quants.quantize(weight.float().numpy(), gguf.GGMLQuantizationType[type]))
    file = weights_of(type, data, 96, "float")
    assert torch.equal(made.tiles, file.native().tiles) and (made.form.kernel, made.shape) == (file.kernel, (70, 96))
    x = torch.randn(2, 96)
    torch.testing.assert_close(made.linear(x), file.linear(x) + bias.float())


def test_large_weights_are_rounded_piece_by_piece(monkeypatch) -> None:
    weights = Dense(torch.randn(80, 64))
    whole = quantized(weights, "u4", "int8", gated=True)
    monkeypatch.setattr("paceline.lm.weights.quantise.PART", 64 * 7)
    assert torch.equal(quantized(weights, "u4", "int8", gated=True).tiles, whole.tiles) and whole.native(gated=True).integer


def test_what_cannot_be_quantised_is_refused() -> None:
    with pytest.raises(ModelError, match="blocks of 32 inputs; found a linear of 40"):
        quantized(Dense(torch.randn(2, 40)), "u4", "int8")
    with pytest.raises(ModelError, match="too large for this format"):
        quantized(Dense(torch.full((2, 32), 1e9)), "i8", "int8")
