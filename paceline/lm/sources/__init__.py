"""Where models come from, and which of them can be decoded.

A model file format is a file here with `opened(path, dtype, make)`: the `Source` (`protocols.py`) of a file or folder that it
knows for sure, else None; `make()` is what transformers makes of the same place. Formats are asked by name, one after the other.
"""

import importlib
import pkgutil
from typing import Any

__all__ = ["of_files"]


def of_files() -> list[Any]:
    """The modules that open files."""
    modules = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)
               if module.name != "transformers"]
    return [module for module in modules if hasattr(module, "opened")]
