"""Random GGUF files of the shapes that people run, in the layout of Q4_K_M: their text means nothing, their time does.

Codes are drawn by lot; the scales of blocks are constants of the size that trained weights have, so that nothing overflows. One
tensor is made at a time and written at once. The vocabulary is whole, though most of its tokens are only numbers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["SHAPES", "Shape", "shaped", "write_shape"]

CONTEXT = 16_384
SPREAD = 0.02  # standard deviation of the weights, about


@dataclass(frozen=True)
class Shape:
    """Sizes of a llama-type model; tied: its head is the embedding."""

    layers: int
    width: int
    heads: int
    groups: int
    inner: int
    vocab: int
    tied: bool
    dim: int = 128

    def tensors(self) -> Iterator[tuple[str, str, tuple[int, ...]]]:
        """(name, format, shape [out, in]) of all, in the file's order. Q4_K_M gives attn_v and ffn_down six bits in the first and
        the last eighth of the layers and in every third one between.
        """
        yield "token_embd.weight", "Q6_K" if self.tied else "Q4_K", (self.vocab, self.width)
        queries, keys = self.heads * self.dim, self.groups * self.dim
        for i in range(self.layers):
            more = "Q6_K" if generous(i, self.layers) else "Q4_K"
            yield f"blk.{i}.attn_norm.weight", "F32", (self.width,)
            yield f"blk.{i}.attn_q.weight", "Q4_K", (queries, self.width)
            yield f"blk.{i}.attn_k.weight", "Q4_K", (keys, self.width)
            yield f"blk.{i}.attn_v.weight", more, (keys, self.width)
            yield f"blk.{i}.attn_output.weight", "Q4_K", (self.width, queries)
            yield f"blk.{i}.ffn_norm.weight", "F32", (self.width,)
            yield f"blk.{i}.ffn_gate.weight", "Q4_K", (self.inner, self.width)
            yield f"blk.{i}.ffn_up.weight", "Q4_K", (self.inner, self.width)
            yield f"blk.{i}.ffn_down.weight", more, (self.width, self.inner)
        yield "output_norm.weight", "F32", (self.width,)
        if not self.tied:
            yield "output.weight", "Q6_K", (self.vocab, self.width)


SHAPES = {
    "1.5b": Shape(layers=28, width=1536, heads=12, groups=2, inner=8960, vocab=151_936, tied=True),
    "3b": Shape(layers=28, width=3072, heads=24, groups=8, inner=8192, vocab=128_256, tied=True),
    "8b": Shape(layers=32, width=4096, heads=32, groups=8, inner=14_336, vocab=128_256, tied=False),
}


def generous(layer: int, layers: int) -> bool:
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


@contextmanager
def shaped(name: str) -> Iterator[Path]:
    """A file of this shape, gone afterwards; the largest takes 5 GB."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"random-{name}.Q4_K_M.gguf"
        write_shape(SHAPES[name], path)
        yield path


def write_shape(shape: Shape, path: Path, seed: int = 0) -> None:
    """Write the file."""
    import gguf

    writer, lots = gguf.GGUFWriter(path, "llama"), np.random.default_rng(seed)
    _describe(writer, shape)
    for name, kind, size in shape.tensors():
        block, bytes_ = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind]]
        stored = int(np.prod(size)) // block * bytes_
        shown = (*size[:-1], size[-1] // block * bytes_) if kind != "F32" else size
        writer.add_tensor_info(name, shown, np.dtype(np.float32 if kind == "F32" else np.uint8), stored,
                               raw_dtype=gguf.GGMLQuantizationType[kind])  # fmt: skip
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for _, kind, size in shape.tensors():
        writer.write_tensor_data(MAKERS[kind](lots, size))
    writer.close()


def _describe(writer: Any, shape: Shape) -> None:
    writer.add_block_count(shape.layers)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.groups)
    writer.add_key_length(shape.dim)
    writer.add_value_length(shape.dim)
    writer.add_rope_dimension_count(shape.dim)
    writer.add_rope_freq_base(500_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(shape.vocab)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("llama-bpe")
    writer.add_token_list([*_bytes(), "ĠĠ", *(f"<{i}>" for i in range(257, shape.vocab))])
    writer.add_token_types([1] * shape.vocab)
    writer.add_token_merges(["Ġ Ġ"])
    writer.add_eos_token_id(shape.vocab - 1)


def _bytes() -> list[str]:
    """The 256 characters that stand for bytes in such vocabularies."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) for b in shown] + [chr(256 + i) for i in range(256 - len(shown))]


def _norm(lots: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
    return np.ones(size, dtype=np.float32)


def _q4_k(lots: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
    """Blocks of 256 in 144 bytes: fp16 scale and minimum, then 12 bytes of both for each 32, then the codes. The minimum is 7.5
    times the scale, the mean of the codes, so that weights have mean 0.
    """
    blocks = _lots(lots, size, 144)
    scale = SPREAD / 258  # what codes, and scales and minima of 6 bits, spread to
    blocks[:, :4] = np.array([scale, 7.5 * scale], dtype=np.float16).view(np.uint8)
    return blocks.reshape(size[0], -1)


def _q6_k(lots: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
    """Blocks of 256 in 210 bytes: 192 of codes, 16 of scales, an fp16 scale of all."""
    blocks = _lots(lots, size, 210)
    blocks[:, 208:] = np.array([SPREAD / 1365], dtype=np.float16).view(np.uint8)
    return blocks.reshape(size[0], -1)


def _lots(lots: np.random.Generator, size: tuple[int, ...], bytes_: int) -> np.ndarray:
    return lots.integers(0, 256, (size[0] * size[1] // 256, bytes_), dtype=np.uint8)


MAKERS = {"F32": _norm, "Q4_K": _q4_k, "Q6_K": _q6_k}
