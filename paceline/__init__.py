"""Paceline: language models made fast, losslessly, and shown why.

The names below come with their modules when first asked for: `import paceline` alone imports neither torch nor transformers.
"""

import importlib
import typing

if typing.TYPE_CHECKING:
    from paceline.api import Piece, generate, intervene, loss_with, probe, stream
    from paceline.core.grammar import Grammar
    from paceline.core.reading import Reading
    from paceline.core.request import Request
    from paceline.core.row import Generation
    from paceline.core.sampling import Sampling
    from paceline.engine import Engine
    from paceline.engine.options import RequestOptions
    from paceline.errors import DataError, ModelError, PacelineError, RequestError, ShapeError, SpecError
    from paceline.integrations.transformers.accelerate import accelerate
    from paceline.lm import LM, load
else:

    def __getattr__(name: str):
        """A public name from its module, kept here for the next time (PEP 562)."""
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
        return value

    def __dir__():
        return sorted({*globals(), *__all__})


__version__ = "0.2.0"

__all__ = [
    "LM",
    "DataError",
    "Engine",
    "Generation",
    "Grammar",
    "ModelError",
    "PacelineError",
    "Piece",
    "Reading",
    "Request",
    "RequestError",
    "RequestOptions",
    "Sampling",
    "ShapeError",
    "SpecError",
    "accelerate",
    "generate",
    "intervene",
    "load",
    "loss_with",
    "probe",
    "stream",
]

_HOMES = {
    **dict.fromkeys(("Piece", "generate", "intervene", "loss_with", "probe", "stream"), "api"), "Engine": "engine",
    "Grammar": "core.grammar", "LM": "lm", "load": "lm", "accelerate": "integrations.transformers.accelerate",
    "Generation": "core.row", "Reading": "core.reading", "Request": "core.request",
    "RequestOptions": "engine.options", "Sampling": "core.sampling",
    **dict.fromkeys(("DataError", "ModelError", "PacelineError", "RequestError", "ShapeError", "SpecError"), "errors"),
}  # fmt: skip
