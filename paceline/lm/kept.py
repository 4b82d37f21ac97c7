"""What was found out about a model on this machine, kept on disk for when it is loaded again: JSON, a file a kind and model.

A file's name holds all that such findings may hang on: shapes, dtypes, settings, threads, code and processor. They hardly hang on
values, but a weight of zeros hides what a trained one shows, so the name holds some elements of every tensor as well: equal ones
mean the same model or a close relative, whose other elements run through the same kernels in the same order.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from paceline.files import replace_json
from paceline.lm.forwards.fused import compiler
from paceline.lm.machine import processor_details

if TYPE_CHECKING:
    from paceline.lm.lm import LM


__all__ = ["folder", "identity", "read", "write"]

MOST = 500  # files of a kind, the newest: a model in training is another one at every step
# What chooses kernels beside the processor, as environment variables.
CHOOSING = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS")


def folder() -> Path:
    """Where the files are: beside the compiled code."""
    return compiler.cache_folder()


def identity(lm: LM) -> str:
    """Names a model as it is asked to run here; it changes with all that a check may depend on."""
    made = hashlib.sha256()
    for part in (*surroundings(lm), *lm.source.contents()):
        made.update(part if isinstance(part, bytes) else repr(part).encode())
    return made.hexdigest()[:24]


def surroundings(lm: LM) -> Iterator[Any]:
    """How the model is run, by which code, on what."""
    compiled = compiler.library_name() if lm.device.type == "cpu" and lm.asked_forward in ("auto", "fused") else ""
    yield lm.asked_forward, lm.asked_packed, lm.device.type, torch.get_num_threads(), compiled
    yield source(), torch.__version__, version("transformers"), processor_details(), [os.environ.get(name) for name in CHOOSING]
    yield torch.get_float32_matmul_precision(), torch.backends.mkldnn.enabled, torch.are_deterministic_algorithms_enabled()
    yield torch.cuda.get_device_name(lm.device) if lm.device.type == "cuda" else ""


@lru_cache(maxsize=1)
def source() -> str:
    """Tells versions of the code that computes and checks apart."""
    files = [p.read_bytes() for p in sorted(Path(__file__).parent.rglob("*")) if p.suffix in (".py", ".cpp", ".h")]
    return hashlib.sha256(b"\0".join(files)).hexdigest()


def read(path: Path) -> dict[str, Any]:
    """What the file holds; nothing where there is none, or a broken one."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write(path: Path, found: dict[str, Any]) -> None:
    """Write the file whole, and remove the oldest of too many of its kind."""
    replace_json(path, found)
    kind = path.name.partition("-")[0]
    with suppress(OSError):  # another process may be at it too
        for old in sorted(path.parent.glob(f"{kind}-*.json"), key=lambda file: file.stat().st_mtime)[:-MOST]:
            old.unlink(missing_ok=True)
