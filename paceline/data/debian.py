"""The Debian package index as labelled texts: one-line descriptions, and what Debtags or the archive's sections say of them.

Every Debian machine has it, and with several tags a package it is a small public analogue of the multi-label sets that EXAM was
measured on. Licence of descriptions and tags: as the packages', free.
"""

from __future__ import annotations

import gzip
import lzma
import re
import subprocess
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from paceline.data.labelled import Labelled
from paceline.errors import DataError, did_you_mean
from paceline.files import decoded, read_bytes

__all__ = ["PREFIX", "debian"]

PREFIX = "debian:"
TASKS = ("tags", "section")
LEAST = 50  # packages that a label needs
OPENED = {".gz": gzip.decompress, ".xz": lzma.decompress}
FIELD = re.compile(r"^([A-Za-z0-9-]+):(.*(?:\n[ \t].*)*)", re.M)


def debian(spec: str) -> Labelled:
    """`debian:` or `debian:tags` (several labels), `debian:section` (one), from the index that apt knows, or from a file
    of packages, plain, `.gz` or `.xz`: `debian:tags@FILE`.

    A package's name is taken out of its description, packages of one source are one group, and labels of fewer than 50 packages
    are dropped, with packages that have no other. Raises DataError where there is no index or no label.
    """
    task, _, file = spec.removeprefix(PREFIX).partition("@")
    task = task or TASKS[0]
    if task not in TASKS:
        raise DataError(f"There is no task {task!r} in the package index.{did_you_mean(task, TASKS)}")
    packages = {entry["Package"]: entry for entry in entries(index(file)) if entry.get("Description") and "Package" in entry}
    labels = [tags(entry, task) for entry in packages.values()]
    seen = Counter(label for some in labels for label in some)
    kept = [tuple(label for label in some if seen[label] >= LEAST) for some in labels]
    rows = [(described(entry), some, source(entry)) for entry, some in zip(packages.values(), kept, strict=True) if some]
    if len({label for _, some, _ in rows for label in some}) < 2:
        raise DataError(f"Expected packages with a {task.rstrip('s')} that {LEAST} of them share in {file or 'apt'}, "
                        "found none; name a Packages file of a whole archive.")
    texts, chosen, groups = (list(column) for column in zip(*[row for row in rows if row[0]], strict=True))
    return Labelled(texts, chosen, task == "tags", f"descriptions and {task} of {len(texts)} Debian packages", groups)


def index(file: str) -> str:
    """The text of a Packages file, or what apt knows."""
    if file:
        path = Path(file)
        raw = read_bytes(path)
        try:
            return decoded(OPENED.get(path.suffix, bytes)(raw), file)
        except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
            raise DataError(f"{file}: expected a {path.suffix} file ({error}).") from error
    try:
        done = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise DataError("Expected apt-cache, which lists Debian's packages; name a Packages file: debian:tags@FILE.") from error
    return decoded(done.stdout, "apt-cache dumpavail")


def entries(text: str) -> Iterator[dict[str, str]]:
    """The fields of each package."""
    return ({name: value.strip() for name, value in FIELD.findall(entry)} for entry in text.split("\n\n") if entry.strip())


def tags(entry: dict[str, str], task: str) -> tuple[str, ...]:
    """Its labels; a section without its area (`contrib/games` is games)."""
    if task == "section":
        return (entry["Section"].split("/")[-1],) if "Section" in entry else ()
    return tuple(dict.fromkeys(tag.strip() for tag in entry.get("Tag", "").replace("\n", " ").split(",") if tag.strip()))


def source(entry: dict[str, str]) -> str:
    return entry.get("Source", entry["Package"]).split(" ")[0]


def described(entry: dict[str, str]) -> str:
    """The description's first line, without the names of the package and its source."""
    names = {entry["Package"].lower(), source(entry).lower()}
    return " ".join(word for word in entry["Description"].split("\n")[0].split() if word.lower().strip("():,.;") not in names)
