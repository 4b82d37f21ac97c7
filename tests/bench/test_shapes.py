"""Random files: the layout of Q4_K_M, weights of a sane size, and every tensor as long as its header says."""

from __future__ import annotations

from pathlib import Path

import pytest

from paceline.bench.shapes import SHAPES, Shape, generous, write_shape

gguf = pytest.importorskip("gguf")
SMALL = Shape(layers=8, width=256, heads=4, groups=2, inner=512, vocab=300, tied=False, dim=64)


def test_a_file_is_read_as_it_was_meant(tmp_path: Path) -> None:
    write_shape(SMALL, tmp_path / "x.gguf")
    reader = gguf.GGUFReader(tmp_path / "x.gguf")
    kinds = {t.name: t.tensor_type.name for t in reader.tensors}
    assert kinds == {name: kind for name, kind, _ in SMALL.tensors()}
    assert [tuple(int(n) for n in t.shape[::-1]) for t in reader.tensors] == [size for *_, size in SMALL.tensors()]
    for tensor in (t for t in reader.tensors if len(t.shape) == 2):
        weights = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        assert abs(weights.mean()) < 0.002 and 0.015 < weights.std() < 0.025 and abs(weights).max() < 0.5, tensor.name
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()
    assert len(set(tokens)) == SMALL.vocab


def test_shapes_are_as_large_as_they_are_called() -> None:
    sizes = {name: sum(out[0] * (out[1] if len(out) > 1 else 1) for *_, out in shape.tensors()) for name, shape in SHAPES.items()}
    assert sizes == pytest.approx({"1.5b": 1.5e9, "3b": 3.2e9, "8b": 8.0e9}, rel=0.05)
    assert sum(generous(layer, 32) for layer in range(32)) == 16
