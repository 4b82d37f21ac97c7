"""A GGUF file (llama.cpp's format) as a model: one file, its parts, or a folder with one.

Weights stay as the file has them, 4 or 8 bits each; no transformers module is made, and nothing of that library imported.
"""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from math import prod
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import torch

from paceline.errors import ModelError
from paceline.lm.decoder import Decoder
from paceline.lm.rotary import Rope, rope_of
from paceline.lm.sources import Asked
from paceline.lm.sources.contents import tensors_of
from paceline.lm.sources.gguf_file import read
from paceline.lm.sources.gguf_metadata import settings_of
from paceline.lm.sources.gguf_parts import FACTORS, FileParts
from paceline.lm.sources.gguf_tokenizer import tokenizer_of
from paceline.lm.sources.llama import described
from paceline.lm.weights.ggml_blocks import KINDS

__all__ = ["GGUF", "gguf_in", "opened", "tokenizer_in"]

ALONE, TOKENS = True, "tokenizer.ggml.tokens"
PART = re.compile(r"(.*)-(\d{5})-of-(\d{5})\.gguf")


def opened(path: Path, asked: Asked) -> "GGUF | None":
    """The file, or the one in a folder, as a source; None where the path is something else. Raises ModelError where it is broken
    or cannot be decoded.
    """
    if (file := gguf_in(path)) is None:
        return None
    if asked.dtype not in (None, torch.float32) or asked.device not in (None, "cpu"):
        raise ModelError(f"A GGUF file is computed in fp32 on the CPU; leave dtype and device out to load {str(file)!r}.")
    return GGUF(file, asked.activations or "int8")


def gguf_in(path: Path) -> Path | None:
    """The GGUF file meant by a path. Raises ModelError for a folder with several."""
    if path.is_file():
        return path if path.suffix == ".gguf" else None
    if not path.is_dir() or any(path.glob("*.safetensors")) or any(path.glob("*.bin")):
        return None
    found = [file for file in sorted(path.glob("*.gguf")) if not (part := PART.fullmatch(file.name)) or int(part[2]) == 1]
    if len(found) > 1:
        raise ModelError(f"{str(path)!r} holds several models: name one of {', '.join(file.name for file in found)}.")
    return found[0] if found else None


def parts_of(path: Path) -> list[Path]:
    """All files of a model, the first first. Raises ModelError where one is missing."""
    if not (named := PART.fullmatch(path.name)):
        return [path]
    every = [path.with_name(f"{named[1]}-{i:05}-of-{named[3]}.gguf") for i in range(1, int(named[3]) + 1)]
    if missing := [file.name for file in every if not file.is_file()]:
        raise ModelError(f"{str(path)!r} is one of {len(every)} parts of a model, of which {missing[0]} is missing beside it.")
    return every


def tokenizer_in(file: Path) -> Any:
    """A file's tokenizer without its weights; None where it has none."""
    fields = read(parts_of(file)[0]).fields
    return tokenizer_of(fields) if TOKENS in fields else None


class GGUF:
    """A `Source`. Tensors are mapped from the files, and read when they are described. activations: "int8" or "float", as the
    inputs of its quantised linears.
    """

    live, module, dtype, device = "", False, torch.float32, torch.device("cpu")

    def __init__(self, path: Path, activations: str) -> None:
        self.name, self.activations = str(path), activations
        self.files = [read(part) for part in parts_of(path)]
        self.fields = self.files[0].fields
        self.tensors = {name: tensor for file in self.files for name, tensor in file.tensors.items()}
        self.parameters = sum(prod(stored.shape) for name, stored in self.tensors.items() if name != FACTORS)
        with self._refusing():
            self.settings = settings_of(self.fields, self.tensors)
        self.vocab = self.settings.vocab_size

    @cached_property
    def tokenizer(self) -> Any:
        return tokenizer_of(self.fields) if TOKENS in self.fields else None

    @cached_property
    def generation(self) -> Any:
        """The tokens that end a text; None where the model was given another tokenizer, since its own is not known here."""
        try:
            return None if self.tokenizer is None else SimpleNamespace(eos_token_id=self.tokenizer.ends)
        except ModelError:
            return None

    @property
    def model(self) -> NoReturn:
        raise ModelError(f"{self.name!r} is a GGUF file, of which there is no transformers module: leave forward at 'auto', or "
                         "load the model from which the file was made.")

    def release(self) -> None:
        """There is no module to let go."""

    def hand_over(self, forward: Any) -> None:
        """Nothing of it is held twice."""

    def decoder(self, context: int) -> tuple[Decoder, str]:
        """From the file's tensors. Raises ModelError for one that is missing, of another shape or type, or not known."""
        with self._refusing():
            parts = self._parts()
            rope, factors = rope_of(self.settings.rope_parameters, self.settings.head_dim), parts.rope_factors()
            if rope is not None and factors is not None:
                rope = Rope(rope.frequencies / factors, rope.scale)
            decoder, why = described(vars(self.settings), parts, rope, context)
            if unknown := parts.unused():
                why = why or f"it has a tensor {unknown[0]!r}, with which Paceline cannot compute it"
            if decoder is None or why:
                raise ModelError(why)
        return decoder, ""

    def embeddings(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Both in fp32."""
        embed, head = self.first_embeddings(self.vocab), self._parts().first("lm_head", self.vocab)
        return embed, embed if head is None else head

    def first_embeddings(self, count: int) -> torch.Tensor:
        found = self._parts().first("model.embed_tokens", count)
        assert found is not None, "a file without an embedding is refused"
        return found

    def state(self) -> dict[str, torch.Tensor]:
        """Its weights by transformers' names, in fp32."""
        return FileParts(self.tensors, self.settings, "float", self._forget).state()

    def stored(self) -> dict[str, Any]:
        """Of each block type its bytes in the file and here, and how many bits a code has here."""
        sizes = Counter[str]()
        for tensor in self.tensors.values():
            sizes[tensor.kind] += tensor.data.numel()
        formats = {kind: {"file_bytes": size, "bytes": round(size * KINDS[kind].growth), "bits": KINDS[kind].bits}
                   for kind, size in sizes.items() if kind in KINDS}
        return {"activations": self.activations, "formats": formats} if formats else {}

    def contents(self) -> Iterator[Any]:
        yield "gguf", self.activations
        yield from (file.data[: file.start] for file in self.files)
        yield from tensors_of((name, self.tensors[name].data) for name in sorted(self.tensors))
        self._forget()

    def _parts(self) -> FileParts:
        return FileParts(self.tensors, self.settings, self.activations, self._forget)

    def _forget(self) -> None:
        """Pages of the files that were read leave this process: what came of them is in its memory."""
        for file in self.files:
            file.forget()

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """What is wrong with the file is told with its name."""
        try:
            yield
        except ModelError as error:
            raise ModelError(f"{self.name!r} cannot be decoded: {str(error).removesuffix('.')}.") from error
