"""What a value given by a user has to be; each check gives it back as the plain Python value it stands for."""

from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import Any

from paceline.errors import RequestError

__all__ = ["characters", "flag", "names", "plain", "short", "whole", "whole_numbers"]


def flag(name: str, value: Any, unset: bool = False) -> Any:
    """True or False, numpy's included, or None where a value may be left `unset`. Raises RequestError for any other."""
    given = plain(value)
    if not isinstance(given, bool) and not (unset and given is None):
        raise RequestError(f"{name} must be {'True, False or None' if unset else 'True or False'}; found {value!r}.")
    return given


def whole(name: str, value: Any, least: int | None = None) -> int:
    """A whole number, numpy's included. Raises RequestError for any other value and for one below `least`."""
    if not isinstance(value, Integral) or isinstance(value, bool) or (least is not None and value < least):
        above = "" if least is None else f" of at least {least}"
        raise RequestError(f"{name} must be a whole number{above}; found {value!r}.")
    return int(value)


def whole_numbers(given: Any) -> list[int] | None:
    """A list, tensor or array of whole numbers, as a list; None for anything else."""
    given = plain(given)
    if not isinstance(given, Iterable) or isinstance(given, str | bytes | bytearray | set | frozenset | Mapping):
        return None
    found = [plain(number) for number in given]
    return [int(n) for n in found] if all(isinstance(n, Integral) and not isinstance(n, bool) for n in found) else None


def plain(value: Any) -> Any:
    """A tensor, an array or one number of it as Python's own lists and numbers; anything else as it is."""
    return value.tolist() if hasattr(value, "tolist") else value


def short(value: Any) -> str:
    """A value as an error shows it."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def names(name: str, value: Any) -> tuple[str, ...]:
    """One text or several, as a tuple. Raises RequestError for what is neither, for an empty text and for half characters."""
    texts = (value,) if isinstance(value, str) else tuple(value) if isinstance(value, Iterable) else (None,)
    if any(not isinstance(text, str) or not text for text in texts):
        raise RequestError(f"{name} must be non-empty text, or a list of such texts; found {short(value)}.")
    return tuple(characters(name, text) for text in texts)


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
