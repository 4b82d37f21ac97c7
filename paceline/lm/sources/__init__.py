"""Where models come from, and which of them can be decoded.

A model file format is a file here with `opened(path, asked)`: the `Source` (`protocols.py`) of a file or folder that it knows for
sure, else None. Formats are asked by name, one after the other. ALONE: transformers is not to open such a place in our stead, so
the format is asked whatever forward and device are wanted.
"""

import importlib
import pkgutil
from collections.abc import Callable
from typing import Any, NamedTuple

import torch

__all__ = ["Asked", "of_files"]


class Asked(NamedTuple):
    """How a model is to be loaded; None leaves it to the format. make: what transformers makes of the same place. activations:
    what quantised linears make of their inputs, "int8" or "float".
    """

    make: Callable[[], Any]
    dtype: torch.dtype | None = None
    device: str | None = None
    activations: str | None = None


def of_files() -> list[Any]:
    """The modules that open files."""
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)
               if module.name != "transformers"]
    return [module for module in modules if hasattr(module, "opened")]
