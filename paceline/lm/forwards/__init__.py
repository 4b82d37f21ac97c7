"""Ways to compute a model, one file or folder each.

A file is a forward by being here: `fits(decoder)` says why a decoder is not for it ("" where it is), `build(decoder, packed)`
gives the `Forward` (`protocols.py`), and of those that fit the one with the least `ORDER` is taken. PACKS: it always keeps a
packed copy of the weights, so it is not chosen where none may be. `stock` is the one that runs a source's own module, and serves
where no other does.
"""

import importlib
import pkgutil
from typing import Any

__all__ = ["NAMES", "of_decoders"]

NAMES = sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name[0] != "_")


def of_decoders() -> dict[str, Any]:
    """Name -> module of the forwards that compute a described decoder, the preferred ones first."""
    found = {name: importlib.import_module(f"{__name__}.{name}") for name in NAMES if name != "stock"}
    return dict(sorted(found.items(), key=lambda item: item[1].ORDER))
