"""What can go wrong, one class per audience. Knows nothing of the rest of the package.

A message states what was expected, what was found and how to mend it; it is all the user will see.
"""

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["DataError", "ModelError", "PacelineError", "RequestError", "ShapeError", "SpecError", "did_you_mean"]


class PacelineError(Exception):
    """Any error a user of Paceline can cause and mend."""


class SpecError(PacelineError):
    """A plug-in spec string that names nothing, or options that do not fit."""


class ModelError(PacelineError):
    """A model, a pair of models or a cache that cannot be used this way."""


class ShapeError(PacelineError):
    """A tensor or a token tree whose shape breaks its contract."""


class DataError(PacelineError):
    """A file that is missing, unreadable, broken or cannot be written."""


class RequestError(PacelineError):
    """A decoding request with values no model could honour."""


def did_you_mean(name: str, options: Iterable[str]) -> str:
    """The tail of an error message: " Did you mean 'x'?", or all options when none is close."""
    options = sorted(options)
    close = get_close_matches(name, options, n=1, cutoff=0.6)
    if close:
        return f" Did you mean {close[0]!r}?"
    return f" Known: {', '.join(options)}." if options else ""
