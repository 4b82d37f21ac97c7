"""Standard streams that fail on no character: whatever a terminal's encoding lacks is shown as a plain one."""

from __future__ import annotations

import codecs
import os
import sys
import unicodedata
from pathlib import Path

from paceline.files import decoded, read_text

__all__ = ["given_text", "read_standard_input", "steady"]

PLAIN = str.maketrans({
    "\u2010": "-", "\u2011": "-", "\u2012": "-", "\u2013": "-", "\u2014": "-", "\u2212": "-", "\u00d7": "x", "\u00b7": ".",
    "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2192": "->", "\u2264": "<=", "\u2265": ">=", "\u00b1": "+-",
})  # fmt: skip


def steady() -> None:
    """Let stdout and stderr write a plain character for one they lack, and stdin take any bytes; what reads them may refuse them.

    Without it a terminal in ASCII or cp437 ends a measurement of minutes with a UnicodeEncodeError.
    """
    codecs.register_error("paceline.plain", plain)
    for stream, errors in ((sys.stdout, "paceline.plain"), (sys.stderr, "paceline.plain"), (sys.stdin, "surrogateescape")):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=errors)


def plain(error: UnicodeError) -> tuple[str, int]:
    """A codec's error handler: the nearest ASCII to what cannot be encoded, ? where there is none."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    parts = unicodedata.normalize("NFKD", error.object[error.start : error.end].translate(PLAIN))
    return "".join(c if c.isascii() else "?" for c in parts if not unicodedata.combining(c)), error.end


def given_text(given: str) -> str:
    """What an argument stands for: standard input (-), the text of a file of that name, or itself."""
    if given == "-":
        return read_standard_input()
    return read_text(Path(given)) if os.path.isfile(given) else given  # false, not an error, for what is too long to be a name


def read_standard_input() -> str:
    """All of standard input: from a file or pipe in UTF-8 whatever the terminal's encoding, from a terminal as it is typed."""
    if sys.stdin.isatty():
        return sys.stdin.read()
    return decoded(sys.stdin.buffer.read(), "standard input")
