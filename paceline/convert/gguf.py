"""A model as a GGUF file (llama.cpp's format, ggml's docs/gguf.md), its weights rounded on the way.

Of a GGUF file the metadata is taken over and the weights are rounded anew; any other model is described in llama.cpp's words.
Either way the file is opened by llama.cpp and by `paceline.load`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from paceline.convert.settings import refuse, settings_of
from paceline.convert.vocabulary import vocabulary_of
from paceline.errors import DataError, ModelError, SpecError, did_you_mean
from paceline.files import replacing
from paceline.lm import LM, load
from paceline.lm.load import resolve
from paceline.lm.rotary import rope_of
from paceline.lm.sources.gguf import FACTORS, GGUF, gguf_in
from paceline.lm.sources.gguf_file import Stored
from paceline.lm.sources.gguf_metadata import names_of
from paceline.lm.weights.ggml import weights_of

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType, GGUFValueType, GGUFWriter

__all__ = ["KINDS", "convert", "file_contents", "model_contents", "write"]

KINDS = ("q4_1", "q4_0", "q8_0", "bf16", "f16", "f32")
OUTER = ("token_embd.weight", "output.weight")  # they lose most by rounding, so 4-bit files have them in 8 bits
LARGEST = 65504  # of fp16, in which scales are
ANEW = ("general.architecture", "general.file_type", "general.quantization_version", "general.alignment")
GONE = ("split.", "quantize.")  # what a file tells of its parts and of how it was rounded


class Lazy(NamedTuple):
    """A weight that is made when it is written, so that one is held at a time."""

    shape: tuple[int, ...]
    make: Callable[[], torch.Tensor]


class Contents(NamedTuple):
    """What a file will hold: metadata and weights, by llama.cpp's names and in its order."""

    fields: dict[str, Any]
    tensors: Mapping[str, Lazy]


def convert(model: str, out: Path, weights: str = "q4_1") -> int:
    """Write the model to a file, and return how many weights it has. model: as `paceline.load` takes it. weights: one of `KINDS`;
    norms and biases stay in fp32, and with 4 bits the embedding and the head get 8.

    Raises SpecError for another kind, ModelError for a model that llama.cpp or the format cannot have, DataError where the file
    cannot be written or is the model's own.
    """
    if weights not in KINDS:
        raise SpecError(f"There is no kind of weights {weights!r}.{did_you_mean(weights, KINDS)}")
    file = gguf_in(Path(resolve(model)))
    if file and file.resolve() == out.resolve():
        raise DataError(f"Expected another file than the model's for --out, found {out} for both.")
    contents = file_contents(GGUF(file, "float")) if file else model_contents(load(model, forward="stock", packed=False))
    write(out, contents, weights)
    return sum(prod(tensor.shape) for tensor in contents.tensors.values())


def file_contents(source: GGUF) -> Contents:
    """Of a GGUF file, its parts together."""
    tensors = {name: Lazy(stored.shape, partial(dequantised, stored)) for name, stored in source.tensors.items()}
    return Contents(source.fields, tensors)


def dequantised(stored: Stored) -> torch.Tensor:
    """In fp32."""
    whole = weights_of(stored.kind, stored.rows, stored.shape[-1], "float")
    return whole.rows(torch.arange(whole.shape[0], dtype=torch.long, device="cpu")).view(stored.shape)


def model_contents(lm: LM) -> Contents:
    """Of a model of llama's kind. Raises ModelError for another one, and for a tokenizer that llama.cpp does not know."""
    config, tensors = lm.text_config, dict[str, Lazy]()
    refuse(config)
    names = names_of(config)
    for name, weight in lm.model.state_dict().items():
        whole, _, ending = name.rpartition(".")
        if whole not in names:
            raise ModelError(f"A GGUF file has no place for the weight {name!r} of a model of the type {config.model_type}.")
        if whole != "lm_head" or not config.tie_word_embeddings:  # without a head, llama.cpp takes the embedding
            tensors[f"{names[whole]}.{ending}"] = Lazy(tuple(weight.shape), partial(turned, weight, heads_in(whole, config)))
    inner = [tensors[f"blk.{i}.ffn_down.weight"].shape[1] for i in range(config.num_hidden_layers)]
    fields = settings_of(config, inner)
    if (factors := rope_factors(config)) is not None:
        tensors[FACTORS] = Lazy(tuple(factors.shape), lambda: factors)
    ends = getattr(lm.generation, "eos_token_id", None)
    return Contents({**fields, "general.name": Path(lm.name).name, **vocabulary_of(lm.tokenizer, lm.vocab, ends)}, tensors)


def heads_in(name: str, config: Any) -> int:
    """The heads of a weight whose rows have to be turned; 0 for others. llama.cpp's llama has the pairs that are rotated
    together side by side, where transformers has the halves of a head.
    """
    if config.model_type not in ("llama", "mistral"):
        return 0
    queries, keys = config.num_attention_heads, config.num_key_value_heads
    return {"q_proj": queries, "k_proj": keys}.get(name.rpartition(".")[2], 0)


def turned(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of each head from halves (i, i + d / 2) to neighbours (2 i, 2 i + 1), in fp32."""
    whole = weight.detach().cpu().float()
    return whole.unflatten(0, (heads, 2, -1)).transpose(1, 2).reshape(whole.shape) if heads else whole


def rope_factors(config: Any) -> torch.Tensor | None:
    """By what llama 3's rotations are slowed, [D / 2]; None where they are not."""
    parameters, dim = config.rope_parameters, getattr(config, "head_dim", None)
    if parameters.get("rope_type") != "llama3":
        return None
    dim = dim or config.hidden_size // config.num_attention_heads
    plain, slowed = rope_of({"rope_theta": parameters["rope_theta"]}, dim), rope_of(parameters, dim)
    return plain.frequencies / slowed.frequencies if plain and slowed else None


def write(out: Path, contents: Contents, weights: str) -> None:
    """Write a file whole or not at all. Raises ModelError for a width that blocks do not divide and for weights beyond fp16."""
    import gguf

    kinds = {name: kind_of(name, tensor.shape, weights) for name, tensor in contents.tensors.items()}
    with replacing(out) as fresh, closing(gguf.GGUFWriter(fresh, contents.fields["general.architecture"])) as writer:
        describe(writer, contents, weights)
        for name, tensor in contents.tensors.items():
            block, size = gguf.GGML_QUANT_SIZES[kinds[name]]
            writer.add_tensor_info(name, tensor.shape, np.dtype(np.float32), prod(tensor.shape) // block * size, kinds[name])
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for name, tensor in contents.tensors.items():
            weight = tensor.make()
            if weights not in ("f32", "bf16") and not weight.abs().max() <= LARGEST:  # no number is not, either
                raise ModelError(f"The weight {name!r} exceeds {LARGEST}, the largest number of fp16: write bf16 or f32.")
            writer.write_tensor_data(gguf.quants.quantize(weight.contiguous().numpy(), kinds[name]))


def kind_of(name: str, shape: tuple[int, ...], weights: str) -> GGMLQuantizationType:
    """The type of a tensor in the file."""
    import gguf

    if len(shape) == 1:
        return gguf.GGMLQuantizationType.F32
    kind = gguf.GGMLQuantizationType[("q8_0" if weights.startswith("q4") and name in OUTER else weights).upper()]
    if shape[-1] % (block := gguf.GGML_QUANT_SIZES[kind][0]):
        raise ModelError(f"{kind.name} has blocks of {block} inputs, and the weight {name!r} has {shape[-1]} inputs: write f16.")
    return kind


def describe(writer: GGUFWriter, contents: Contents, weights: str) -> None:
    """The metadata."""
    import gguf

    for key, value in contents.fields.items():
        if key not in ANEW and not key.startswith(GONE) and value != []:
            writer.add_key_value(key, value, type_of(value))
    writer.add_file_type(gguf.LlamaFileType["ALL_F32" if weights == "f32" else f"MOSTLY_{weights.upper()}"])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)


def type_of(value: Any) -> GGUFValueType:
    """As llama.cpp reads it: numbers in 32 bits where they fit, unsigned but in lists."""
    from gguf import GGUFValueType

    found = GGUFValueType.get_type(value)
    if found is not GGUFValueType.INT32 or value < 0:
        return found
    return GGUFValueType.UINT32 if value < 1 << 32 else GGUFValueType.UINT64
