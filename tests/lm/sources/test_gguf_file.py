"""Headers of GGUF files: whatever they claim, the answer is a file or one error, and no memory that they have no bytes for."""

from __future__ import annotations

import random
import struct
import tracemalloc
from pathlib import Path

import pytest

from paceline.errors import ModelError
from paceline.lm.sources.gguf_file import read
from tests.gguf_files import write

FIELDS = {
    "general.architecture": "llama", "llama.block_count": 2, "a.flag": True, "a.number": 1.5,
    "a.list": [1, 2, 3], "tokenizer.ggml.tokens": ["a", "bc", "é"],
}  # fmt: skip
TENSORS = {"a.weight": (0, (4, 8), bytes(128)), "b.weight": (8, (2, 32), bytes(68)), "c": (1, (6,), bytes(12))}
EXTREMES = (0, 1, 2, 8, 9, 127, 255, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 62, (1 << 63) - 1, (1 << 64) - 1)


@pytest.fixture
def file(tmp_path: Path) -> tuple[Path, int]:
    return tmp_path / "x.gguf", write(tmp_path / "x.gguf", FIELDS, TENSORS)


def test_what_was_written_is_read(file: tuple[Path, int]) -> None:
    found = read(file[0])
    assert found.fields == FIELDS
    assert {name: (stored.kind, stored.shape, stored.data.numel()) for name, stored in found.tensors.items()} == {
        "a.weight": ("F32", (4, 8), 128), "b.weight": ("Q8_0", (2, 32), 68), "c": ("F16", (6,), 12)}
    assert found.tensors["b.weight"].rows.shape == (2, 34)


def test_two_thousand_headers_that_lie(file: tuple[Path, int]) -> None:
    """Bytes flipped, numbers replaced by extreme ones, pieces cut out, moved or doubled, ends cut off."""
    path, length = file
    whole, dice, refused = path.read_bytes(), random.Random(0), 0
    tracemalloc.start()
    for _ in range(2000):
        made, at = bytearray(whole), dice.randrange(4, length)
        kind = dice.randrange(4)
        if kind == 0:
            made[at] ^= 1 << dice.randrange(8)
        elif kind == 1:
            made[at : at + 8] = struct.pack("<Q", dice.choice(EXTREMES))
        elif kind == 2:
            stop = min(length, at + dice.randrange(1, 24))
            made[at:stop] = made[at:stop] * dice.choice((0, 2))
        else:
            del made[at:]
        path.write_bytes(made)
        try:
            read(path)
        except ModelError as error:
            refused += "\n" not in str(error)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20  # the file and its objects, many times over; its claims reach 2^64
    tracemalloc.stop()
    assert 1000 < refused < 2000


@pytest.mark.parametrize(("content", "said"), [
    (b"", "Cannot read"), (b"PK\3\4" + bytes(60), "is not a GGUF file"), (b"GGUF\1\0\0\0" + bytes(60), "of GGUF version 1"),
    (b"GGUF\3\0\0\0", "is broken or cut off"),
])  # fmt: skip
def test_other_files_are_refused(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "x.gguf").write_bytes(content)
    with pytest.raises(ModelError, match=said):
        read(tmp_path / "x.gguf")
    with pytest.raises(ModelError, match="Cannot read"):
        read(tmp_path / "none.gguf")
