"""Parts of the compiled forward by themselves against torch, in every build that runs here, and builds against each other."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import linear

import paceline
from paceline.lm.batch import Batch
from paceline.lm.forwards.fused import compiler
from paceline.lm.forwards.fused.forward import CLinear
from paceline.lm.weights.blocks import Blocks, Form, blocks_of
from paceline.lm.weights.dense import KERNELS, Dense
from paceline.lm.weights.i8 import I8, I8_MINIMUM, I8_SIXTEENS, I8_TWO_LEVEL
from paceline.lm.weights.int8 import KERNEL
from paceline.lm.weights.layout import TILE, quantize_int8, tiles
from paceline.lm.weights.u4 import U4, U4_TWO_LEVEL
from paceline.testing import tiny_model

CODE, WHY = compiler.library()
pytestmark = pytest.mark.skipif(CODE is None, reason=WHY)
BUILDS = list(compiler.PATHS)[list(compiler.PATHS).index(CODE.path) :] if CODE else [""]
# AVX-512's layout for a processor that has AVX2 only.
WIDE = ("-march=x86-64-v3", "-DPACELINE_LANES=16", "-ffp-contract=fast", "-O2")

KINDS = {**KERNELS, torch.int8: KERNEL}  # of weights, as the code numbers them

Kernel = Callable[..., Any]


def kernels(file: Path, path: str) -> Kernel:
    """`call(name, *arguments)` for the doors of a build; tensors are handed over as addresses."""
    library = ctypes.CDLL(str(file))
    functions = {name: library[f"{name}_{path}"] for name in ("gemm", "softmax", "rope")}
    functions["softmax"].restype = ctypes.c_float
    return lambda name, *given: functions[name](*map(address, given))


def address(x: Any) -> Any:
    return ctypes.c_void_p(x.data_ptr()) if isinstance(x, torch.Tensor) else x


@pytest.fixture(params=BUILDS)
def call(request: pytest.FixtureRequest) -> Kernel:
    code, why = compiler.library(request.param)
    assert code is not None, why
    return kernels(code.file, code.path)


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def gemm(call: Kernel, x: torch.Tensor, weight: torch.Tensor, kind: torch.dtype, threads: int = 1) -> torch.Tensor:
    """x [m, in] times a weight [out, in] kept in this dtype, plus the weight's first column."""
    kept, scale = quantize_int8(weight) if kind is torch.int8 else (weight.to(kind), torch.ones(len(weight)))
    tiled, scales, bias = tiles(kept), tiles(scale[:, None]), weight[:, 0].contiguous()
    y = torch.full((len(x), len(weight)), torch.nan)
    described = CLinear(tiled.data_ptr(), scales.data_ptr(), bias.data_ptr(), None, *weight.shape, KINDS[kind], False)
    call("gemm", ctypes.byref(described), x, len(x), y, threads)
    return y


def softmax(call: Kernel, scores: torch.Tensor) -> torch.Tensor:
    padded = torch.cat([scores, torch.full((16,), torch.nan)])
    total = call("softmax", padded, len(scores))
    return padded[: len(scores)] / total


def rope(call: Kernel, x: torch.Tensor, angles: torch.Tensor, scale: float) -> torch.Tensor:
    """One head's numbers x [d], turned by angles [d / 2]."""
    cos, sin = angles.cos().repeat(2), torch.cat([-angles.sin(), angles.sin()])
    call("rope", x := x.clone(), cos, sin, len(x), ctypes.c_float(scale))
    return x


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("shape", [(70, 45), (31, 3), (64, 300)], ids=str)  # out, in
def test_gemm_is_torch_s_linear_and_no_row_depends_on_others(call: Kernel, shape: tuple[int, int], kind: torch.dtype) -> None:
    weight, x = numbers(*shape), numbers(14, shape[1], seed=1)
    kept, scale = quantize_int8(weight) if kind is torch.int8 else (weight.to(kind), torch.ones(len(weight)))
    expected = linear(x.double(), kept.double() * scale.double()[:, None], weight[:, 0].double())
    ours = gemm(call, x, weight, kind)
    torch.testing.assert_close(ours, expected.float(), atol=1e-4, rtol=1e-5)
    for rows in range(1, len(x)):
        assert torch.equal(gemm(call, x[:rows], weight, kind, threads=1 + rows % 3), ours[:rows])


FORMS = (U4, U4_TWO_LEVEL, I8, I8_MINIMUM, I8_TWO_LEVEL, I8_SIXTEENS)


def blocks(form: Form, activations: str = "int8", extreme: bool = False) -> Blocks:
    """Weights [70, 512] of a form, with any codes that it may have, or with the largest alone: these come nearest to overflow."""
    made = torch.Generator().manual_seed(1)
    most = 255 if form in (U4, U4_TWO_LEVEL) else 31 if {"m", "minimum"} & set(form.block) else 127
    ranges = {"codes": (-128 if most == 127 else 0, most), "sc": (1, 63), "m": (0, 63)}
    parts = {}
    for level, fields in ((1, form.group), (form.blocks, form.block)):
        for name, field in fields.items():
            size = (70, 16 // form.blocks, level, field.bytes // TILE)
            low, high = ranges.get(name, (0, 0))
            numbers = torch.randint(high if extreme else low, high + 1, size, generator=made).to(torch.uint8)
            scales = 0.01 * torch.randn((*size[:3], 1), generator=made).half()
            parts[name] = scales if field.dtype is torch.float16 else numbers.view(field.dtype)
    return blocks_of(form, parts, activations, torch.arange(70.0))


def block_gemm(call: Kernel, x: torch.Tensor, weights: Blocks, threads: int = 1) -> torch.Tensor:
    made = weights.native()
    assert made is not None and made.bias is not None
    y = torch.full((len(x), weights.shape[0]), torch.nan)
    described = CLinear(made.tiles.data_ptr(), None, made.bias.data_ptr(), None, *made.shape, made.kind, made.integer)
    call("gemm", ctypes.byref(described), x, len(x), y, threads)
    return y


@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("activations", ["int8", "float"])
@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"kind {form.kernel}")
def test_codes_are_multiplied_as_the_reference_says(call: Kernel, form: Form, activations: str, extreme: bool) -> None:
    """No sum overflows, and no row depends on the others."""
    weights, x = blocks(form, activations, extreme), numbers(14, 512, seed=1)
    if extreme:
        x = x.sign() * (1 + 1e-3 * torch.arange(512))  # nearly all of the largest code
        x[:7] = x[:7].abs()
    ours, expected = block_gemm(call, x, weights), weights.linear(x)
    torch.testing.assert_close(ours, expected, atol=2e-6 * float(x.abs().max() * expected.abs().max()), rtol=1e-5)
    for rows in range(1, len(x)):
        assert torch.equal(block_gemm(call, x[:rows], weights, threads=1 + rows % 3), ours[:rows])


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"kind {form.kernel}")
def test_codes_and_fp32_activations_give_the_bits_of_the_same_weights_in_fp32(call: Kernel, form: Form) -> None:
    weights, x = blocks(form, "float"), numbers(5, 512, seed=1)
    dense = Dense(weights.rows(torch.arange(70)), weights.bias).native()
    assert dense is not None and weights.bias is not None
    y = torch.full((5, 70), torch.nan)
    described = CLinear(dense.tiles.data_ptr(), None, weights.bias.data_ptr(), None, 70, 512, dense.kind, False)
    call("gemm", ctypes.byref(described), x, 5, y, 1)
    assert torch.equal(block_gemm(call, x, weights), y)


@pytest.mark.parametrize("n", [1, 15, 16, 17, 300])
def test_softmax_is_torch_s(call: Kernel, n: int) -> None:
    scores = 20 * numbers(n)
    scores[n // 2 + 1 :: 7] = -torch.inf
    torch.testing.assert_close(softmax(call, scores), scores.softmax(0), atol=1e-7, rtol=2e-6)


@pytest.mark.parametrize("d", [6, 16, 64, 80])
def test_rope_turns_pairs_of_numbers(call: Kernel, d: int) -> None:
    x, angles = numbers(d), 10 * numbers(d // 2, seed=1)
    turned = torch.complex(*x.double().chunk(2)) * torch.exp(1j * angles.double())
    expected = 0.3 * torch.cat([turned.real, turned.imag])
    torch.testing.assert_close(rope(call, x, angles, 0.3), expected.float(), atol=1e-6, rtol=1e-5)


def written(call: Kernel, rounded: Sequence[Form] = FORMS) -> list[torch.Tensor]:
    """What a build's kernels make of the same numbers. rounded: forms that meet rounded activations."""
    products = [gemm(call, numbers(rows, 45, seed=2), numbers(70, 45), kind) for rows in (1, 3, 13) for kind in KINDS]
    for how, forms in (("int8", rounded), ("float", FORMS)):
        products += [block_gemm(call, numbers(7, 512, seed=2), blocks(form, how)) for form in forms]
    return [*products, softmax(call, 9 * numbers(100)), rope(call, numbers(12), numbers(6, seed=1), 0.3)]


def logits(changes: dict[str, Any], dtype: torch.dtype) -> torch.Tensor:
    """Of every token of a text, and then what a greedy continuation says of its own likeliest tokens."""
    lm = paceline.load(tiny_model("qwen3", **changes).to(dtype), forward="fused")
    kv, text = lm.cache(), torch.arange(3, 203).tolist()
    slot = kv.take()
    every = lm.forward(Batch.of([slot], [text]), kv)
    chain = lm.extend(kv, [slot], [text[:50]], 4, top=3)[0]
    return torch.cat([every.float().flatten(), torch.tensor(chain).flatten()])


@pytest.mark.slow
@pytest.mark.skipif("avx2" not in BUILDS, reason="one vector size only")
def test_builds_with_vectors_of_other_sizes_write_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AVX2's and AVX-512's, of which the second is played on AVX2 where there is no AVX-512: it takes a compiler a minute, which
    then fuses sums, too, that the others round twice, those of rounded activations and a minimum.
    """
    codes = [code for path in BUILDS if path != "portable" and (code := compiler.library(path)[0])]
    forms = FORMS
    if len(codes) == 1:
        monkeypatch.setitem(compiler.PATHS, "wide", WIDE)
        compiler.build(str(compiler.found_compiler()), tmp_path / "wide.so", ["wide"])
        wide = ctypes.CDLL(str(tmp_path / "wide.so"))
        codes.append(compiler.Code(tmp_path / "wide.so", "wide", wide.forward_wide, wide.extend_wide, wide.size_of_wide))
        forms = (I8, I8_SIXTEENS)
    for dtype, changes in ((torch.float32, {}), (torch.float32, {"head_dim": 12}), (torch.bfloat16, {"head_dim": 80})):
        found = []
        for code in codes:
            monkeypatch.setattr(compiler, "library", lambda path=None, code=code: (code, ""))
            found.append([logits(changes, dtype), *written(kernels(code.file, code.path), forms)])
        for other in found[1:]:
            assert all(map(torch.equal, found[0], other))
