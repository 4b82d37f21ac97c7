"""The formats to which a GGUF file's linear weights can be brought first: rivals are quick on some and slow on others.

Q4_0 is the one that llama.cpp repacks for wide registers; Q4_1 it does not. Requantising loses something, and all methods read
the file that came out.
"""

from paceline.errors import RequestError, did_you_mean

__all__ = ["FORMATS", "check_format"]

FORMATS = ("q4_0", "q4_1", "q8_0")


def check_format(name: str | None) -> None:
    """Raise RequestError for a format that no file can be brought to."""
    if name is not None and name not in FORMATS:
        raise RequestError(f"There is no format {name!r} to requantise to.{did_you_mean(name, FORMATS)}")
