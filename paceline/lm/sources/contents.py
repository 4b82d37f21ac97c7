"""What tells one model from another: its settings, and of every tensor its name, shape, dtype and some elements."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

__all__ = ["settings_of", "tensors_of"]

SAMPLE = 32  # elements of each tensor
NAMES = ("_name_or_path", "transformers_version")  # settings that change nothing


def settings_of(settings: Mapping[str, Any]) -> str:
    """Settings as text, the same for the same model."""
    return json.dumps({k: v for k, v in settings.items() if k not in NAMES}, sort_keys=True, default=str)


def tensors_of(tensors: Iterable[tuple[str, torch.Tensor]]) -> Iterator[Any]:
    """Of each tensor what names it."""
    for name, tensor in tensors:
        flat = tensor.detach().reshape(-1)
        yield name, tuple(tensor.shape), tuple(tensor.stride()), str(tensor.dtype)
        yield flat[:: max(1, len(flat) // SAMPLE)][:SAMPLE].cpu().contiguous().view(torch.uint8).numpy().tobytes()
