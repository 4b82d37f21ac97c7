"""Another format for the linear weights: those and nothing else, near to what they were."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paceline.bench.requantise import check_format
from paceline.bench.run import files
from paceline.errors import RequestError

gguf = pytest.importorskip("gguf")


def small_file(path: Path) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_token_list(["a", "b"])
    lots, kind = np.random.default_rng(0), gguf.GGMLQuantizationType
    for name, form in (("token_embd.weight", kind.Q8_0), ("blk.0.ffn_up.weight", kind.Q4_1)):
        writer.add_tensor(name, gguf.quants.quantize(lots.normal(size=(8, 64)).astype(np.float32), form), raw_dtype=form)
    writer.add_tensor("blk.0.attn_norm.weight", np.ones(64, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_only_linear_weights_change(tmp_path: Path) -> None:
    small_file(tmp_path / "a.gguf")
    with files(str(tmp_path / "a.gguf"), "q4_0") as place:
        before, after = (gguf.GGUFReader(path) for path in (tmp_path / "a.gguf", place))
        assert [t.tensor_type.name for t in after.tensors] == ["Q8_0", "Q4_0", "F32"]
        for old, new in zip(before.tensors, after.tensors, strict=True):
            theirs, ours = (gguf.quants.dequantize(t.data, t.tensor_type) for t in (old, new))
            assert abs(theirs - ours).max() <= (0.35 if old.name.startswith("blk.0.ffn") else 0.0)
        assert after.fields["tokenizer.ggml.tokens"].contents() == ["a", "b"]
    assert not Path(place).exists()


def test_what_cannot_be_requantised() -> None:
    with pytest.raises(RequestError, match="Did you mean 'q4_0'"):
        check_format("q4_00")
    with pytest.raises(RequestError, match="Only a GGUF file"), files("zoo:tiny", "q4_0"):
        pass
