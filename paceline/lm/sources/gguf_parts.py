"""The weights of a GGUF file, checked against the shapes that its metadata asks for, by the names that a description asks by."""

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import torch

from paceline.errors import ModelError
from paceline.lm.sources.gguf_file import Stored
from paceline.lm.sources.gguf_metadata import names_of, shapes_of
from paceline.lm.weights import Weights
from paceline.lm.weights.ggml import joined, weights_of

__all__ = ["FACTORS", "FileParts"]

HEAD, FACTORS = "output", "rope_freqs.weight"
GATES = ("mlp.gate_proj", "mlp.gate_up_proj")
STACKED = ("self_attn.qkv_proj", "mlp.gate_up_proj")  # of phi3, whose other names these places have elsewhere


class FileParts:
    """`Parts` (`llama.py`): linears keep their blocks, vectors are fp32. settings: as `settings_of` gives them; read: called when
    some of a tensor has been read. Raises ModelError for a tensor that is missing, of another shape or of an unknown type.
    """

    def __init__(self, tensors: Mapping[str, Stored], settings: SimpleNamespace, activations: str,
                 read: Callable[[], None]) -> None:
        self.tensors, self.settings, self.activations, self.read = tensors, settings, activations, read
        self.names, self.shapes, self.used = names_of(settings), shapes_of(settings), set[str]()

    def linear(self, *names: str) -> Weights | None:
        """None for the head where it is the embedding."""
        places = [self.names[name] for name in names]
        if places == [HEAD] and f"{HEAD}.weight" not in self.tensors:
            return None
        made = joined([self._linear(place) for place in places], gated=names[0].endswith(GATES))
        self.read()
        return made

    def first(self, name: str, count: int) -> torch.Tensor | None:
        """The first rows of the embedding or the head, in fp32; None as for `linear`."""
        place = self.names[name]
        if f"{place}.weight" not in self.tensors:
            return None
        stored = self._stored(f"{place}.weight", self.shapes[place])
        part = weights_of(stored.kind, stored.rows[:count], stored.shape[1], "float")
        return part.rows(torch.arange(part.shape[0], dtype=torch.long, device="cpu"))

    def vector(self, name: str) -> torch.Tensor | None:
        """None for a norm that the architecture lacks."""
        place = self.names[name]
        return self._floats(f"{place}.weight", self.shapes[bare(place)]) if bare(place) in self.shapes else None

    def rope_factors(self) -> torch.Tensor | None:
        """By what llama 3's rotations are slowed, [D / 2]; None where they are not."""
        return self._floats(FACTORS, (self.settings.head_dim // 2,)) if FACTORS in self.tensors else None

    def state(self) -> dict[str, torch.Tensor]:
        """All of them with their biases, in fp32, by transformers' full names."""
        found: dict[str, torch.Tensor | None] = {}
        for name, place in self.names.items():
            if name.endswith("norm"):
                found[f"{name}.weight"] = self.vector(name)
            elif f"{place}.weight" in self.tensors and not name.endswith(STACKED):
                part: Any = self._linear(place)
                rows = torch.arange(part.shape[0], dtype=torch.long, device="cpu")
                found |= {f"{name}.weight": part.rows(rows), f"{name}.bias": getattr(part, "bias", None)}
        return {name: weight for name, weight in found.items() if weight is not None}

    def unused(self) -> list[str]:
        """Tensors that nobody has asked for: the model is another one than was described."""
        return sorted(set(self.tensors) - self.used)

    def _linear(self, place: str) -> Weights:
        stored, bias = self._stored(f"{place}.weight", self.shapes[bare(place)]), None
        if f"{place}.bias" in self.tensors or f"{bare(place)}.bias" in self.shapes:
            bias = self._turned(place, self._floats(f"{place}.bias", stored.shape[:1]))
        return weights_of(stored.kind, self._turned(place, stored.rows), stored.shape[1], self.activations, bias,
                          self.read)

    def _turned(self, place: str, rows: torch.Tensor) -> torch.Tensor:
        """Outputs in the order of transformers: of llama's queries and keys, llama.cpp has the pairs that are rotated together
        side by side, where transformers has the halves of a head.
        """
        if self.settings.model_type not in ("llama", "mistral") or bare(place) not in ("attn_q", "attn_k"):
            return rows
        return rows.view(-1, self.settings.head_dim // 2, 2, *rows.shape[1:]).transpose(1, 2).reshape(rows.shape)

    def _floats(self, name: str, shape: tuple[int, ...]) -> torch.Tensor:
        stored = self._stored(name, shape)
        if stored.kind != "F32":
            raise ModelError(f"its tensor {name!r} is of type {stored.kind}, where F32 is expected")
        return stored.data.clone().view(torch.float32)

    def _stored(self, name: str, shape: tuple[int, ...]) -> Stored:
        if (found := self.tensors.get(name)) is None:
            raise ModelError(f"it has no tensor {name!r}")
        if found.shape != shape:
            raise ModelError(f"its tensor {name!r} is {list(found.shape)}, where {list(shape)} is expected")
        self.used.add(name)
        return found


def bare(place: str) -> str:
    """A weight's name without its layer."""
    return place.rpartition(".")[2]
