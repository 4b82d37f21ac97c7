"""Reads files that people hand in, and writes files whole. Knows not what they mean.

Read are text, JSON and JSON lines, in UTF-8 with or without a byte-order mark. Whatever is wrong with a file is a DataError of
one sentence that names it, and the line where there are lines.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any

from paceline.errors import DataError

__all__ = ["HALF", "decoded", "json_lines", "lines", "parsed", "read_bytes", "read_json", "read_text", "record_in", "replacing",
           "replace_bytes", "replace_json", "replace_text"]

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


@contextmanager
def replacing(path: Path, flush: bool = False) -> Iterator[Path]:
    """Gives a name beside `path`; what is written there takes its place when the block ends, so that readers see the old file or
    the whole new one. Where the block raises, the old file stays and nothing else is left. flush: have it on the disk before, so
    that a crash of the machine leaves no empty file either. A link stays: what it leads to is replaced.

    Raises DataError where the file cannot be written.
    """
    path = Path(os.path.realpath(path))
    fresh = path.with_name(f".{path.name}.{token_hex(4)}")  # no other process or thread writes there
    try:
        yield fresh
        if flush:
            with open(fresh, "r+b") as file:
                os.fsync(file.fileno())
        os.replace(fresh, path)
    except OSError as error:
        raise DataError(f"Cannot write {path}: {error.strerror or error}.") from error
    finally:
        fresh.unlink(missing_ok=True)


def replace_bytes(path: Path, data: bytes) -> None:
    """Replace the file whole; a pipe or a device is written to. Raises DataError where that cannot be done."""
    if os.path.exists(path) and not os.path.isfile(path):
        try:
            path.write_bytes(data)
        except OSError as error:
            raise DataError(f"Cannot write {path}: {error.strerror or error}.") from error
        return
    with replacing(path) as fresh:
        fresh.write_bytes(data)


def replace_text(path: Path, text: str) -> None:
    """The same in UTF-8; half a surrogate pair, which has no UTF-8, is written as an escape."""
    replace_bytes(path, text.encode("utf-8", "backslashreplace"))


def replace_json(path: Path, value: Any, indent: int | None = None) -> None:
    """The same as JSON, with a line feed at the end."""
    replace_text(path, json.dumps(value, indent=indent) + "\n")
