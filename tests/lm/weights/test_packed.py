"""Packed linears compute what stock ones do, and nothing that is not a plain CPU weight is packed."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn

import paceline
from paceline.lm import LM
from paceline.lm.forwards.stock import Stock
from paceline.lm.weights import packed as packing
from paceline.lm.weights.dense import Dense, joined
from paceline.lm.weights.packed import Packed, can_pack, packs, pays
from paceline.testing import tiny_model

WEIGHT = torch.randn(96, 64, generator=torch.Generator().manual_seed(0))
needs_packing = pytest.mark.skipif(not can_pack(WEIGHT), reason="this torch has no packed linears")


@needs_packing
@pytest.mark.parametrize("rows", [1, 2, 7, 64, 65])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [
    (torch.float32, 1e-5),
    pytest.param(torch.bfloat16, 0.1, marks=pytest.mark.skipif(not packs(torch.bfloat16), reason="not on this processor")),
])  # fmt: skip
def test_packed_equals_dense(rows: int, bias: bool, dtype: torch.dtype, tolerance: float) -> None:
    random = torch.Generator().manual_seed(rows)
    x, add = (torch.randn(rows, n, generator=random).to(dtype) for n in (64, 96))
    weight, offset = WEIGHT.to(dtype), torch.randn(96, generator=random).to(dtype) if bias else None
    packed, dense = Packed(weight, offset), Dense(weight, offset)
    torch.testing.assert_close(packed.linear(x), dense.linear(x), atol=tolerance, rtol=tolerance)
    torch.testing.assert_close(packed.linear(x, add), dense.linear(x, add), atol=tolerance, rtol=tolerance)
    assert packed.linear(x).shape == (rows, 96) and packed.shape == dense.shape == (96, 64)


def test_only_plain_cpu_matrices_are_packed() -> None:
    class Quantised(torch.Tensor):
        pass

    assert not can_pack(WEIGHT.double()) and not can_pack(WEIGHT[0]) and not can_pack(WEIGHT.to("meta"))
    assert not can_pack(WEIGHT.as_subclass(Quantised))
    assert not pays([WEIGHT.double()])
    assert isinstance(packing.packed(Dense(WEIGHT.double())), Dense)


def test_an_operator_that_the_processor_lacks_is_tried_once(unchecked: None, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    class Lacking:
        def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> None:
            tried.append(weight.dtype)
            raise RuntimeError("needs avx512bw")

    monkeypatch.setattr(packing, "Packed", Lacking)
    packs.cache_clear()
    try:
        assert all(type(packing.packed(Dense(WEIGHT.bfloat16()))) is Dense for _ in range(3)) and tried == [torch.bfloat16]
        lm = LM(tiny_model("gpt2").bfloat16())
        assert not lm.backend.packed and any("cannot pack torch.bfloat16" in note for note in lm.notes)
        assert len(paceline.generate(lm, [[5, 6, 7]], max_new_tokens=3, eos=())[0].tokens) == 3
    finally:
        packs.cache_clear()


def test_fusing_stacks_weights_and_fills_missing_biases() -> None:
    a, b = nn.Linear(8, 3), nn.Linear(8, 5, bias=False)
    stacked = joined([a.weight, b.weight], [a.bias, None])
    x = torch.randn(2, 8)
    torch.testing.assert_close(stacked.linear(x), torch.cat((a(x), b(x)), 1))
    assert joined([b.weight], [None]).bias is None


@needs_packing
def test_packing_a_tree_of_modules_replaces_plain_linears_only() -> None:
    class Special(nn.Linear):
        pass

    root = nn.Sequential(nn.Linear(64, 32), nn.Sequential(Special(32, 32), nn.Linear(32, 8, bias=False)))
    x = torch.randn(2, 3, 64)
    expected = root(x)
    Stock.pack(SimpleNamespace(model=root))  # its twin
    assert [type(m).__name__ for m in (root[0], root[1][0], root[1][1])] == ["PackedLinear", "Special", "PackedLinear"]
    torch.testing.assert_close(root(x), expected, atol=1e-5, rtol=1e-5)
