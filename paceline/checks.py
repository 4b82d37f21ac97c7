"""What a value given by a user has to be; each check gives it back as the plain Python value it stands for."""

from collections.abc import Iterable
from numbers import Integral
from typing import Any

from paceline.errors import RequestError

__all__ = ["characters", "names", "whole"]


def whole(name: str, value: Any, least: int | None = None) -> int:
    """A whole number, numpy's included. Raises RequestError for any other value and for one below `least`."""
    if not isinstance(value, Integral) or isinstance(value, bool) or (least is not None and value < least):
        above = "" if least is None else f" of at least {least}"
        raise RequestError(f"{name} must be a whole number{above}; found {value!r}.")
    return int(value)


def names(name: str, value: Any) -> tuple[str, ...]:
    """One text or several, as a tuple. Raises RequestError for what is neither, and for an empty text."""
    texts = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) else (None,)
    if any(not isinstance(text, str) or not text for text in texts):
        raise RequestError(f"{name} must be non-empty text, or a list of such texts; found {value!r}.")
    return texts


def characters(what: str, text: str) -> str:
    """Text of whole characters. Raises RequestError for half of a surrogate pair, which is also how Python reads a byte that is
    not UTF-8.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RequestError(f"{what} must be valid Unicode; found {text[error.start]!r} at character {error.start}: half of a "
                           "surrogate pair, or a byte that is not UTF-8.") from None
    return text
