"""Paceline: language models made fast, losslessly, and shown why.

The names below come with their modules when first asked for: `import paceline` alone imports neither torch nor transformers.
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    from paceline.doors import Piece, generate, stream
    from paceline.engine import Engine
    from paceline.errors import DataError, ModelError, PacelineError, RequestError, ShapeError, SpecError
    from paceline.grammar import Grammar
    from paceline.lm import LM, load
    from paceline.native import accelerate
    from paceline.options import RequestOptions
    from paceline.row import Generation, Request
    from paceline.sampling import Sampling
else:

    def __getattr__(name: str):
        """A public name from its module, kept here for the next time (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        return value

    def __dir__():
        return sorted({*globals(), *__all__})


__version__ = "0.1.0"

__all__ = [
    "LM",
    "DataError",
    "Engine",
    "Generation",
    "Grammar",
    "ModelError",
    "PacelineError",
    "Piece",
    "Request",
    "RequestError",
    "RequestOptions",
    "Sampling",
    "ShapeError",
    "SpecError",
    "accelerate",
    "generate",
    "load",
    "stream",
]

_HOMES = {
    "Piece": "doors", "generate": "doors", "stream": "doors", "Engine": "engine", "Grammar": "grammar", "LM": "lm", "load": "lm",
    "accelerate": "native", "Generation": "row", "Request": "row", "RequestOptions": "options",
    "Sampling": "sampling",
    **dict.fromkeys(("DataError", "ModelError", "PacelineError", "RequestError", "ShapeError", "SpecError"), "errors"),
}  # fmt: skip
