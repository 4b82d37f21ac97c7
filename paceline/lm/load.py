"""From a name to an `LM`: the embedded zoo, `smol`, a hub id, a folder, a GGUF file, or a transformers model already at hand."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError

from paceline.core.checks import short
from paceline.core.progress import waiting
from paceline.errors import ModelError, did_you_mean
from paceline.lm.lm import LM
from paceline.lm.memory import keep_memory
from paceline.lm.places import SMOL, hub_file, smol
from paceline.lm.protocols import Source
from paceline.lm.sources import Asked, of_files
from paceline.lm.sources.gguf import gguf_in, tokenizer_in
from paceline.lm.sources.transformers import Module, tokenizer_at

__all__ = ["kept", "load", "load_tokenizer", "opened", "quiet", "zoo_names"]

ZOO = Path(__file__).parent.parent / "zoo"
ROUNDED, FORMATS = ("int8", "float"), ("u4", "i8")
DTYPES = {"fp32": torch.float32, "float32": torch.float32, "bf16": torch.bfloat16, "bfloat16": torch.bfloat16,
          "fp16": torch.float16, "float16": torch.float16}


def zoo_names() -> list[str]:
    """The embedded models and draft heads."""
    return sorted(p.parent.name for p in ZOO.glob("*/config.json"))


def head_kind(source: str) -> str | None:
    """The kind of draft head in a folder; None where there is none."""
    try:
        return json.loads((Path(source) / "config.json").read_text(encoding="utf-8")).get("speculators_model_type")
    except (OSError, ValueError, AttributeError):
        return None


def load(model: Any, *, dtype: str | torch.dtype | None = None, forward: str = "auto", packed: bool = True,
         tokenizer: Any = None, device: str | None = None, replace: bool = False, activations: str | None = None,
         weights: str | None = None) -> LM:
    """Load a causal language model for decoding.

    model: "smol", "zoo:tiny", a hub id, a folder, a GGUF file ("x.gguf", a folder with one, OWNER/NAME:FILE.gguf on the hub), or
    a transformers model, which is left unchanged (packed weights live beside it). dtype: "fp32", "bf16", "fp16", a torch dtype,
    or None (zoo and GGUF: fp32; otherwise as saved). forward, packed, replace: as `LM` says. weights: "u4" or "i8" rounds the
    linears of a model of llama's kind to 4 or 8 bits. activations: what quantised linears make of their inputs: "int8" (the
    default, and the faster), or "float", the text of the dequantised weights. Raises ModelError with the reason when it cannot be
    had or decoded.
    """
    keep_memory()
    if hasattr(model, "score") and hasattr(model, "cache"):  # an LM, or what passes for one
        return model
    for name, value, values in (("activations", activations, ROUNDED), ("weights", weights, FORMATS)):
        if value not in (None, *values):
            raise ModelError(f"{name} must be one of {', '.join(values)}; found {value!r}.")
    if not isinstance(model, str | Path):
        if dtype is not None or device is not None:
            raise ModelError("dtype and device apply when Paceline loads the model; move a model you hold with model.to(…).")
        if not isinstance(model, torch.nn.Module):
            raise ModelError(f"Expected a model's name, a folder, or a transformers model; found {short(model)}.")
        return LM(_quantised(Module(model), weights, activations), tokenizer, forward, packed, replace)
    with waiting(f"loading {model}"):
        quick = forward in ("auto", "fused") and packed and device in (None, "cpu")
        plain = torch.float32 if str(model).startswith("zoo:") else None
        want = plain if dtype is None else torch_dtype(dtype)
        source = _quantised(_source(str(model), want, device, activations, quick), weights, activations)
        words = source.tokenizer if tokenizer is None else tokenizer
        words = load_tokenizer(str(model), needed=False) if words is None else words
        lm = LM(source, words, forward, packed, replace)
    lm.name = str(model)
    return lm


def _source(name: str, dtype: torch.dtype | None, device: str | None, activations: str | None, quick: bool) -> Source:
    """The file or folder as it is where a forward of ours can compute it, else the model that transformers makes of it. quick:
    whether such a forward is wanted.
    """
    found = _found(name, dtype, device, activations, quick)
    return Module(found) if isinstance(found, torch.nn.Module) else found


def opened(name: str) -> tuple[Any, Any]:
    """A model to look inside of, by any name that `load` takes: a `Source`, or the transformers module in fp32, and its tokenizer
    (None where it has none). Models that cannot be decoded with can be looked at.
    """
    with waiting(f"loading {name}"):
        found = _found(name, torch.float32, None, "float", quick=False)
        words = getattr(found, "tokenizer", None)
        return found, load_tokenizer(name, needed=False) if words is None else words


def _found(name: str, dtype: torch.dtype | None, device: str | None, activations: str | None, quick: bool) -> Any:
    """A source where a file format of ours opens the place, else the transformers module."""
    place = resolve(name)
    if (kind := head_kind(place)) is not None:
        raise ModelError(f"{name!r} is a draft head, not a model: use it with --drafter {kind}:model={name}.")
    asked = Asked(partial(_module, name, place, dtype, device), dtype, device, activations)
    found = (module.opened(Path(place), asked) for module in of_files() if quick or module.ALONE)
    return next(filter(None, found), None) or asked.make()


def _quantised(source: Source, weights: str | None, activations: str | None) -> Source:
    """The source, its linears rounded where that is asked for."""
    if weights is not None:
        from paceline.lm.sources.quantised import Quantised

        return Quantised(source, weights, activations or ROUNDED[0])
    if activations is not None and source.module:
        raise ModelError(f"activations={activations!r} is for quantised weights: give weights='u4' or 'i8' too, or a GGUF file.")
    return source


def _module(name: str, place: str, dtype: torch.dtype | None, device: str | None) -> Any:
    """As transformers loads it. Raises ModelError with the reason."""
    from transformers import AutoModelForCausalLM

    try:
        with quiet():
            model = AutoModelForCausalLM.from_pretrained(place, dtype=dtype or "auto").eval()
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"Cannot load {name!r}: expected zoo:{', zoo:'.join(zoo_names())}, a hub id or a folder with "
                         f"config.json and weights. ({_first_line(error)})") from error
    return moved(model, device)


def moved(model: Any, device: str | None) -> Any:
    """The model on a device, where one is named. Raises ModelError for one that is not there."""
    try:
        return model.to(device) if device else model
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ModelError(f"Cannot move the model to the device {device!r}: {_first_line(error)}") from error


def kept(lm: LM, source: str, settings: Any, make: Callable[[], Any]) -> Any:
    """What `make` gives, or gave this model for the same source and settings as long as its file has not changed: engines come
    and go, and a draft model is read and packed once.
    """
    files = [path.stat().st_mtime_ns for path in sorted(Path(source).glob("*.safetensors"))]
    beside = lm.draft_models
    key = source, settings
    if key not in beside or beside[key][0] != files:
        beside[key] = files, make()
    return beside[key][1]


def load_tokenizer(name: str, needed: bool = True) -> Any:
    """The tokenizer of "zoo:tiny", a hub id or a folder, without a model. Raises ModelError where there is none, or gives None
    where it is not needed.
    """
    place = resolve(name)
    file = gguf_in(Path(place))
    words = tokenizer_at(place) if file is None else tokenizer_in(file)
    if words is None and needed:
        raise ModelError(f"Cannot load a tokenizer from {name!r}: expected zoo:{', zoo:'.join(zoo_names())}, a hub id or a "
                         "folder with tokenizer.json.")
    return words


@contextmanager
def quiet() -> Iterator[None]:
    """No loading bar from transformers: ours says what is going on."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def resolve(name: str) -> str:
    """A name of ours to its folder or file, a file on the hub to its copy here; anything else as it is. Raises ModelError for
    what is not there.
    """
    if not name:
        raise ModelError("Expected a model's name or place, found nothing.")
    if name == SMOL:
        return str(smol())
    if (file := hub_file(name)) is not None:
        return str(file)
    if not name.startswith("zoo:"):
        if means_path(name) and not os.path.exists(name):
            raise ModelError(f"There is no file or folder {name!r}, and a path is not looked for on the hub.")
        return name
    embedded = name.removeprefix("zoo:")
    if embedded not in zoo_names():
        raise ModelError(f"There is no zoo model {embedded!r}.{did_you_mean(embedded, zoo_names())}")
    return str(ZOO / embedded)


def means_path(name: str) -> bool:
    """Whether a name can only be a path, or begins with a folder that stands here; hub ids are NAME or OWNER/NAME."""
    parts, only = Path(name).parts, name.startswith((".", "~", "/")) or name.endswith(".gguf")
    return only or len(parts) > 2 or (len(parts) == 2 and Path(parts[0]).is_dir())


def torch_dtype(dtype: str | torch.dtype) -> torch.dtype:
    if isinstance(dtype, torch.dtype) and dtype.is_floating_point and dtype.itemsize > 1:  # transformers takes no others
        return dtype
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise ModelError(f"There is no dtype {dtype!r}.{did_you_mean(str(dtype), DTYPES)}")
    return DTYPES[dtype]


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0][:200]
