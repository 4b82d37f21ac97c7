"""Sentences with their translations: two parallel files, TSV, gettext catalogues, hub data sets. Knows nothing of tokens.

White space is made single spaces. What has no two sides is left out, counted and named in the log.
"""

from __future__ import annotations

import gzip
import logging
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paceline.data.read import held_out
from paceline.errors import DataError
from paceline.files import decoded, read_bytes

__all__ = ["HUB", "Pairs", "catalogue", "languages", "read_pairs", "split"]

log = logging.getLogger("paceline")

HUB = "hub:"
MAGIC = {0x950412DE: "<", 0xDE120495: ">"}  # of a .mo file, read as little-endian
CONTEXT, PLURAL = "\x04", "\x00"

Pair = tuple[str, str, str]  # where it stands, source, target


@dataclass(frozen=True)
class Pairs:
    """``source[i]`` and ``target[i]`` say the same."""

    source: list[str]
    target: list[str]

    def __len__(self) -> int:
        return len(self.source)

    @classmethod
    def of(cls, pairs: list[tuple[str, str]]) -> Pairs:
        return cls([source for source, _ in pairs], [target for _, target in pairs])


def read_pairs(source: str, target: str | None = None) -> Pairs:
    """The pairs of two files of as many lines; or of one: a ``.tsv`` of two columns, a ``.mo`` catalogue or a folder of them,
    ``hub:NAME@en-de``, or ``hub:NAME:CONFIGURATION@en-de``. Text files may end in ``.gz``.

    Raises DataError for files of different lengths, rows without two columns, text that is not UTF-8, where there are no pairs,
    and for a hub data set that cannot be read or where `datasets` is not installed.
    """
    found = [(where, " ".join(a.split()), " ".join(b.split())) for where, a, b in _pairs(source, target)]
    kept = [(a, b) for _, a, b in found if a and b]
    if not kept:
        raise DataError(f"Expected sentences and their translations in {source}, found none.")
    if len(kept) < len(found):
        first = next(where for where, a, b in found if not (a and b))
        log.warning("%d pairs with an empty side were left out, the first of them: %s", len(found) - len(kept), first)
    return Pairs.of(kept)


def languages(source: str, target: str | None = None) -> tuple[str, str]:
    """What names call the two languages: train.en and train.de.gz, hub:NAME@en-de; both empty where they do not say."""
    if target is not None:
        names = [Path(name.removesuffix(".gz")).suffix[1:] for name in (source, target)]
    else:
        names = source.partition("@")[2].split("-") if source.startswith(HUB) else []
    return (names[0], names[1]) if len(set(filter(None, names))) == 2 else ("", "")


def split(pairs: Pairs, percent: int, salt: str = "") -> tuple[Pairs, Pairs]:
    """(to learn from, held out): by a hash of the source, so that a sentence never stands on both sides."""
    sides: tuple[list[tuple[str, str]], list[tuple[str, str]]] = [], []
    for pair in zip(pairs.source, pairs.target, strict=True):
        sides[held_out(salt + pair[0], percent)].append(pair)
    return Pairs.of(sides[0]), Pairs.of(sides[1])


def _pairs(source: str, target: str | None) -> Iterator[Pair]:
    path = Path(source)
    if target is not None:
        return _two_files(path, Path(target))
    if source.startswith(HUB):
        return _hub(source.removeprefix(HUB))
    if path.is_dir() or path.suffix == ".mo":
        return _catalogues(path)
    if path.name.removesuffix(".gz").endswith(".tsv"):
        return _table(path)
    raise DataError(f"Expected a file of translations beside {source}, or one with both sides: .tsv, .mo, a folder of .mo files, "
                    f"or {HUB}NAME@en-de.")


def _lines(path: Path) -> list[str]:
    raw = read_bytes(path)
    try:
        text = decoded(gzip.decompress(raw) if path.suffix == ".gz" else raw, str(path))
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: expected a .gz file ({error}).") from error
    return text.removesuffix("\n").split("\n")


def _two_files(source: Path, target: Path) -> Iterator[Pair]:
    left, right = _lines(source), _lines(target)
    if len(left) != len(right):
        longer, lone = (source, len(right) + 1) if len(left) > len(right) else (target, len(left) + 1)
        raise DataError(f"Expected as many lines in {source} as in {target}, found {len(left)} and {len(right)}: line {lone} of "
                        f"{longer} has no partner.")
    yield from ((f"line {i}", a, b) for i, (a, b) in enumerate(zip(left, right, strict=True), 1))


def _table(path: Path) -> Iterator[Pair]:
    for i, line in enumerate(_lines(path), 1):
        cells = line.split("\t")
        if len(cells) < 2 and line.strip():
            raise DataError(f"{path}, line {i}: expected two columns with a tab between, found {line[:60]!r}.")
        yield f"line {i}", cells[0], "".join(cells[1:2])


def _hub(spec: str) -> Iterator[Pair]:
    data_set, _, direction = spec.partition("@")
    name, _, configuration = data_set.partition(":")
    source, dash, target = direction.partition("-")
    if not dash:
        raise DataError(f"Expected languages behind the data set, {HUB}{data_set}@en-de; found {HUB}{spec}.")
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise DataError("Data sets of the hub need datasets: pip install datasets.") from error
    try:
        rows = load_dataset(name, configuration or None, split="train")
    except Exception as error:  # datasets and its transports raise what they like
        raise DataError(f"{HUB}{data_set} cannot be read: {str(error).strip().splitlines()[0]}") from error
    for i, row in enumerate(rows):
        sides: dict[str, Any] = row.get("translation", row)
        if source not in sides or target not in sides:
            raise DataError(f"{HUB}{data_set}: expected {source!r} and {target!r} in a row, found {', '.join(map(repr, sides))}.")
        yield f"row {i}", sides[source] or "", sides[target] or ""


def _catalogues(path: Path) -> Iterator[Pair]:
    """Each source once, in the first of the files that has it; what is translated by itself is no translation."""
    seen = set()
    for file in sorted(path.rglob("*.mo")) if path.is_dir() else [path]:
        for source, target in catalogue(read_bytes(file), str(file)):
            if source not in seen and source != target:
                seen.add(source)
                yield str(file), source, target


def catalogue(raw: bytes, where: str) -> Iterator[tuple[str, str]]:
    """Messages and translations of a compiled gettext catalogue, contexts taken off; of plural forms the first, for the singular,
    and the last. Catalogues in other encodings say so in their header. Raises DataError for what is no catalogue.

    Source: GNU gettext manual, "The Format of GNU MO Files".
    """
    try:
        texts = list(_strings(raw))
        head = dict(texts).get(b"", b"").decode("ascii", "replace")
        charset = head.partition("charset=")[2].split("\n")[0].strip() or "utf-8"
        for message, translation in texts:
            if message:
                yield from _forms(message.decode(charset).split(CONTEXT)[-1], translation.decode(charset))
    except (struct.error, KeyError, LookupError, UnicodeDecodeError) as error:
        raise DataError(f"{where}: expected a compiled gettext catalogue, .mo ({error}).") from error


def _strings(raw: bytes) -> Iterator[tuple[bytes, bytes]]:
    order = MAGIC[struct.unpack_from("<I", raw)[0]]
    count, left, right = struct.unpack_from(f"{order}8x3I", raw)
    for i in range(count):
        sides = [struct.unpack_from(f"{order}2I", raw, table + 8 * i) for table in (left, right)]
        (message, translation) = (raw[start : start + size] for size, start in sides)
        yield message, translation


def _forms(message: str, translation: str) -> Iterator[tuple[str, str]]:
    """A language with one form for all numbers translates the plural by it."""
    messages, forms = message.split(PLURAL), translation.split(PLURAL)
    if len(messages) == 2 and len(forms) > 1:
        yield messages[0], forms[0]
    yield messages[-1], forms[-1]
