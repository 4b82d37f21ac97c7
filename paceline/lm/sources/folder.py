"""A folder of config.json and safetensors, described without transformers' model classes, which take seconds to import.

Only what stands in the files is believed: a setting that is missing, where a class would have a default of its own, leaves the
folder to transformers. The module that transformers makes of it is made when somebody asks for it, as the first check does.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from paceline.lm.decoder import Decoder
from paceline.lm.rotary import rope_of
from paceline.lm.sources import Asked
from paceline.lm.sources.contents import settings_of, tensors_of
from paceline.lm.sources.llama import FAMILIES, Tensors, described

__all__ = ["Folder", "opened"]

NEEDED = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "max_position_embeddings",
          "rms_norm_eps", "hidden_act", "tie_word_embeddings")  # fmt: skip
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


ALONE = False


def opened(path: Path, asked: Asked) -> "Folder | None":
    """The folder as a source, or None where it is left to transformers. Its dtype is as saved where none is asked for."""
    try:
        settings = complete(json.loads((path / "config.json").read_text(encoding="utf-8")))
        files = shards(path)
        if settings is None or not files or (path / "adapter_config.json").exists():
            return None
        return Folder(path, settings, files, asked.dtype, asked.make)
    except (OSError, ValueError, TypeError, LookupError, AttributeError, SafetensorError):
        return None  # transformers says what is wrong with it


def complete(found: Mapping[str, Any]) -> dict[str, Any] | None:
    """Settings with nothing left out, or None where they leave something to a class, or ask for what is not known here."""
    family, windowed = found.get("model_type"), found.get("sliding_window")
    if family not in FAMILIES or "quantization_config" in found or any(name not in found for name in NEEDED):
        return None
    if family in ("mistral", "phi3") and "sliding_window" not in found or family == "qwen3" and "head_dim" not in found:
        return None
    kinds = set(found.get("layer_types") or ())
    by_layer = family == "ministral" and bool(kinds) and "sliding_window" in found
    if family == "ministral" and not by_layer or kinds - {"full_attention"} and not by_layer:
        return None
    if found.get("use_sliding_window") or float(found.get("partial_rotary_factor") or 1.0) != 1.0:
        return None
    rope = found.get("rope_parameters") or {"rope_theta": found["rope_theta"], **(found.get("rope_scaling") or {})}
    rope = {"rope_type": rope.get("type", "default"), **rope}
    heads = found["num_attention_heads"]
    return {
        **found, "rope_parameters": rope, "num_key_value_heads": found.get("num_key_value_heads") or heads,
        "head_dim": found.get("head_dim") or found["hidden_size"] // heads,
        "sliding_window": windowed if by_layer or family in ("mistral", "phi3") else None,
    }  # fmt: skip


def shards(path: Path) -> list[Path]:
    """Its files of weights; none where they are in another format."""
    if (path / SINGLE).is_file():
        return [path / SINGLE]
    if (path / INDEX).is_file():
        names = json.loads((path / INDEX).read_text(encoding="utf-8"))["weight_map"].values()
        return [path / name for name in sorted(set(names))]
    return []


class Folder:
    """A `Source`. Weights are mapped from the files, and read when they are described."""

    live, module, tokenizer = "", True, None

    def __init__(self, path: Path, settings: dict[str, Any], files: list[Path], dtype: torch.dtype | None,
                 make: Callable[[], Any]) -> None:
        self.name, self.settings, self._make, self._model = str(path), SimpleNamespace(**settings), make, None
        self.generation = SimpleNamespace(**generation(path, settings))
        self._open = ExitStack()
        opened_files = [self._open.enter_context(safe_open(file, "pt")) for file in files]
        self._files = {name: file for file in opened_files for name in file.keys()}  # noqa: SIM118 - it is no dict
        if settings["tie_word_embeddings"]:
            self._files.pop("lm_head.weight", None)
        embed, head = (self._shape(name) for name in ("model.embed_tokens.weight", self._head))
        saved = settings.get("dtype") or settings.get("torch_dtype") or str(self._saved("model.norm.weight").dtype)
        self.dtype = dtype or getattr(torch, saved.removeprefix("torch."))
        self.device, self.vocab = torch.device("cpu"), head[0]
        if embed[0] != settings["vocab_size"] or not self.dtype.is_floating_point:
            raise ValueError("the embedding is not of the size that its settings name")
        self.parameters = sum(torch.Size(self._shape(name)).numel() for name in self._files)

    @property
    def model(self) -> Any:
        """As transformers makes it of this folder."""
        if self._model is None:
            self._model = self._make()
        return self._model

    def release(self) -> None:
        """Let the module go, for which the checks have had it made."""
        self._model = None

    def hand_over(self, forward: Any) -> None:
        """Nothing of it is held twice."""

    def decoder(self, context: int) -> tuple[Decoder | None, str]:
        settings = vars(self.settings)
        return described(settings, Tensors(self.weight), rope_of(settings["rope_parameters"], settings["head_dim"]), context)

    def embeddings(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self._read("model.embed_tokens.weight"), self._read(self._head)

    def first_embeddings(self, count: int) -> torch.Tensor:
        name = "model.embed_tokens.weight"
        return self._files[name].get_slice(name)[:count].to(self.dtype)

    def stored(self) -> dict[str, Any]:
        return {}

    def contents(self) -> Iterator[Any]:
        yield "folder", str(self.dtype), settings_of(vars(self.settings))
        yield from tensors_of((name, self._saved(name)) for name in sorted(self._files))

    def weight(self, name: str) -> torch.Tensor | None:
        """By its name, in this source's dtype; None where there is none, and for biases that its settings do not name."""
        if name not in self._files or (name.endswith(".bias") and not self._biased(name)):
            return None
        return self._read(name)

    @property
    def _head(self) -> str:
        return "lm_head.weight" if "lm_head.weight" in self._files else "model.embed_tokens.weight"

    def _biased(self, name: str) -> bool:
        """Whether a linear has a bias, by the settings: a class ignores one that they do not name."""
        settings = vars(self.settings)
        if ".mlp." in name:
            return bool(settings.get("mlp_bias"))
        if settings["model_type"] == "qwen2":
            return "o_proj" not in name
        return bool(settings.get("attention_bias"))

    def _saved(self, name: str) -> torch.Tensor:
        return self._files[name].get_tensor(name)

    def _read(self, name: str) -> torch.Tensor:
        return self._saved(name).to(self.dtype)

    def _shape(self, name: str) -> list[int]:
        return self._files[name].get_slice(name).get_shape()


def generation(path: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What generation_config.json says, and config.json of the tokens that end a text."""
    file = path / "generation_config.json"
    said = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return {"eos_token_id": settings.get("eos_token_id"), **said}
