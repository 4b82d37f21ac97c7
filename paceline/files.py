"""Files that people hand in: text, JSON and JSON lines, in UTF-8 with or without a byte-order mark. Knows not what they mean.

Whatever is wrong with one is a DataError of one sentence that names the file, and the line where there are lines.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from paceline.errors import DataError

__all__ = ["HALF", "decoded", "json_lines", "lines", "parsed", "read_bytes", "read_json", "read_text", "record_in"]

HALF = re.compile("[\ud800-\udfff]")  # of a surrogate pair: it has no UTF-8, hence no tokens


def read_bytes(path: Path) -> bytes:
    """The file as it is."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"Cannot read the file {path}: {error.strerror or error}.") from error


def decoded(raw: bytes, where: str) -> str:
    """Bytes as text, line ends as line feeds. `where` names them in the error."""
    try:
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise DataError(f"{where}: expected text in UTF-8; found the byte 0x{raw[error.start]:02x} at {error.start}. Save it as "
                        "UTF-8.") from error


def parsed(raw: bytes, where: str) -> Any:
    """The JSON in these bytes; strings with half a surrogate pair, such as "\\ud83d", are refused."""
    text = decoded(raw, where)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: expected JSON, found {text.strip()[:60]!r} ({error}).") from error
    if "\\u" in text and (half := HALF.search(json.dumps(value, ensure_ascii=False))):
        raise DataError(f"{where}: expected whole characters; found half a surrogate pair, {ascii(half[0])}.")
    return value


def read_text(path: Path) -> str:
    """The file as text."""
    return decoded(read_bytes(path), str(path))


def read_json(path: Path) -> Any:
    """The file as one JSON value."""
    return parsed(read_bytes(path), str(path))


def lines(path: Path) -> Iterator[tuple[str, bytes]]:
    """("FILE, line 3", its bytes) for each line that is not blank. Only line feeds end a line: JSON text may hold U+2028."""
    for number, raw in enumerate(read_bytes(path).split(b"\n"), 1):
        if raw.strip():
            yield f"{path}, line {number}", raw


def record_in(raw: bytes, where: str) -> dict[str, Any]:
    """The JSON object in these bytes."""
    record = parsed(raw, where)
    if not isinstance(record, dict):
        raise DataError(f"{where}: expected a JSON object; found {type(record).__name__}.")
    return record


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """("FILE, line 3", the object in it) for each line of a JSON-lines file that is not blank."""
    for where, raw in lines(path):
        yield where, record_in(raw, where)
