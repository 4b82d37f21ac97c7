"""A GGUF file's header and where its tensors lie, read without trusting a word of it.

Every length is held against the bytes that are left before anything is made of it, so a header that lies costs one error. The
`gguf` package's own reader takes seconds for a large vocabulary; this one takes tenths. Format: ggml's docs/gguf.md, version 3.
"""

import mmap
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import torch

from paceline.errors import ModelError

__all__ = ["File", "Stored", "read"]

MAGIC, VERSIONS, ALIGNMENT = b"GGUF", (2, 3), 32
STRING, ARRAY, MOST_AXES, LENGTH = 8, 9, 4, 8  # the last: bytes that tell a text's length
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
FORMS = {code: struct.Struct(f"<{code}") for code in SCALARS.values()}
# Of each type of tensor its name, the weights of a block and the bytes that these take, as ggml numbers them.
TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292), 16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50), 20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136), 24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66), 39: ("MXFP4", 32, 17),
}  # fmt: skip


class Stored(NamedTuple):
    """A tensor as it lies in its file: ggml's name of its type, its shape as torch has it, its bytes mapped as uint8."""

    kind: str
    shape: tuple[int, ...]
    data: torch.Tensor

    @property
    def rows(self) -> torch.Tensor:
        """[outputs, bytes of an output]; one row for a vector."""
        return self.data.view(prod(self.shape[:-1]), -1)


@dataclass
class File:
    """fields: metadata, key -> plain Python value. tensors: by name. data: the file, mapped, with `start` bytes of header."""

    fields: dict[str, Any]
    tensors: dict[str, Stored]
    data: mmap.mmap
    start: int

    def forget(self) -> None:
        """Let go of the memory of what has been read; it can be read again."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self.data.madvise(mmap.MADV_DONTNEED)


def read(path: Path) -> File:
    """Map a file. Raises ModelError where it is none of GGUF, cut off or broken."""
    try:
        with path.open("rb") as opened:
            data = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)  # its pages are read when they are first needed
    except (OSError, ValueError) as error:  # of these the second for an empty file
        raise ModelError(f"Cannot read {str(path)!r}: {error}.") from error
    return Header(path, data).file()


class Header:
    """Reads on from `at`; whatever would lie beyond the end of the file raises ModelError."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self.path, self.data, self.at = path, data, 0

    def file(self) -> File:
        if self.data[:4] != MAGIC:
            raise ModelError(f"{str(self.path)!r} is not a GGUF file: it does not begin with 'GGUF'.")
        self.at = 4
        if (version := self.number("I")) not in VERSIONS:
            raise ModelError(f"{str(self.path)!r} is of GGUF version {version}; expected version 2 or 3, little-endian.")
        tensors, count = self.number("Q"), self.number("Q")
        fields = {self.text(): self.value(self.number("I")) for _ in range(count)}
        described = [self.tensor() for _ in range(tensors)]
        alignment = fields.get("general.alignment", ALIGNMENT)
        if not isinstance(alignment, int) or not alignment:
            raise self.broken(f"an alignment of {str(alignment)[:50]!r}")
        start = -(-self.at // alignment) * alignment
        placed = {name: self.placed(name, kind, shape, start + offset) for name, kind, shape, offset in described}
        return File(fields, placed, self.data, start)

    def broken(self, what: str) -> ModelError:
        return ModelError(f"{str(self.path)!r} is broken or cut off: its header names {what}; download it again.")

    def take(self, size: int, what: str) -> int:
        """Where the next `size` bytes begin."""
        if size > len(self.data) - self.at:
            raise self.broken(f"{size} bytes of {what} where {len(self.data) - self.at} are left")
        self.at += size
        return self.at - size

    def number(self, code: str) -> Any:
        form = FORMS[code]
        return form.unpack_from(self.data, self.take(form.size, "a number"))[0]

    def text(self) -> str:
        start = self.take(self.number("Q"), "text")
        return self.data[start : self.at].decode(errors="replace")

    def texts(self, count: int) -> list[str]:
        """As `text`, many at once: a vocabulary and its merges are a hundred thousand."""
        data, at, length, size = self.data, self.at, FORMS["Q"].unpack_from, len(self.data)
        found = list[str]()
        for _ in range(count):
            if at + LENGTH > size or (end := at + LENGTH + length(data, at)[0]) > size:
                raise self.broken(f"{count} texts of which {len(found)} are there")
            found.append(data[at + LENGTH : end].decode(errors="replace"))
            at = end
        self.at = at
        return found

    def value(self, kind: int) -> Any:
        if kind == STRING:
            return self.text()
        if kind == ARRAY:
            return self.array(self.number("I"), self.number("Q"))
        if kind not in SCALARS:
            raise self.broken(f"a value of the unknown type {kind}")
        return self.number(SCALARS[kind])

    def array(self, kind: int, count: int) -> list[Any]:
        if kind == STRING:
            return self.texts(count)
        if kind not in SCALARS:
            raise self.broken(f"a list of the unknown type {kind}")
        code = SCALARS[kind]
        start = self.take(count * FORMS[code].size, f"{count} numbers")
        return list(struct.unpack_from(f"<{count}{code}", self.data, start))

    def tensor(self) -> tuple[str, int, tuple[int, ...], int]:
        """Name, type, shape and place of the next tensor."""
        name, axes = self.text(), self.number("I")
        if not 1 <= axes <= MOST_AXES:
            raise self.broken(f"{axes} axes of a tensor")
        shape = tuple(self.number("Q") for _ in range(axes))[::-1]
        return name, self.number("I"), shape, self.number("Q")

    def placed(self, name: str, kind: int, shape: tuple[int, ...], start: int) -> Stored:
        """A tensor, where all of it lies in the file."""
        if kind not in TYPES:
            raise ModelError(f"{str(self.path)!r} has a tensor {name!r} of type {kind}, which Paceline does not know.")
        known, weights, size = TYPES[kind]
        count = prod(shape)
        if count == 0 or shape[-1] % weights or start + count // weights * size > len(self.data):
            raise self.broken(f"a tensor {name!r} of {known} {list(shape)}, which does not fit into the file")
        return Stored(known, shape, torch.frombuffer(self.data, dtype=torch.uint8, offset=start, count=count // weights * size))
