"""Paceline: language models made fast, losslessly, and shown why."""

from paceline.doors import Piece, generate, stream
from paceline.engine import Engine
from paceline.errors import DataError, ModelError, PacelineError, RequestError, ShapeError, SpecError
from paceline.grammar import Grammar
from paceline.lm import LM, load
from paceline.native import accelerate
from paceline.row import Generation, Request
from paceline.sampling import Sampling

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
    "Sampling",
    "ShapeError",
    "SpecError",
    "accelerate",
    "generate",
    "load",
    "stream",
]
