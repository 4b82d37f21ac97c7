"""Another format for the linear weights: the embedding stays in 8 bits, and the file is gone afterwards."""

from __future__ import annotations

from pathlib import Path

import gguf
import pytest

import paceline
from paceline.bench.requantise import check_format
from paceline.bench.run import files
from paceline.convert.gguf import model_contents, write
from paceline.errors import RequestError
from paceline.testing import tiny_model


def test_linear_weights_change(tmp_path: Path) -> None:

    lm = paceline.load(tiny_model(tie_word_embeddings=True), forward="stock", packed=False)
    write(tmp_path / "a.gguf", model_contents(lm), "q4_1")
    with files(str(tmp_path / "a.gguf"), "q4_0") as place:
        kinds = {tensor.name: tensor.tensor_type.name for tensor in gguf.GGUFReader(place).tensors}
        assert kinds["token_embd.weight"] == "Q8_0" and kinds["output_norm.weight"] == "F32"
        assert {kind for name, kind in kinds.items() if name.startswith("blk.") and "norm" not in name} == {"Q4_0"}
    assert not Path(place).exists()


def test_what_cannot_be_requantised() -> None:
    with pytest.raises(RequestError, match="Did you mean 'q4_0'"):
        check_format("q4_00")
    with pytest.raises(RequestError, match="Only a GGUF file"), files("zoo:tiny", "q4_0"):
        pass
