"""Texts with labels: CSV, TSV and JSON lines, their columns named or guessed. Knows nothing of words or models."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from paceline.data.read import held_out
from paceline.errors import DataError
from paceline.files import json_lines, read_text

__all__ = ["Columns", "Labelled", "read_labelled", "split"]

log = logging.getLogger("paceline")

LABELS = ("label", "labels", "class", "class index", "category", "categories", "topic", "topics", "target", "sentiment", "tags")
TEXTS = ("title", "text", "description", "content", "sentence", "body", "question", "review", "message", "comment")
NAMES = "classes.txt"  # beside a file whose classes are numbers, as AG News and its sisters come


@dataclass(frozen=True)
class Columns:
    """Where labels and texts stand: names of columns or JSON keys; None = guessed. several: what parts the labels of one text."""

    label: str | None = None
    text: tuple[str, ...] = ()
    several: str | None = None


@dataclass(frozen=True)
class Labelled:
    """Texts, the labels of each, and what belongs together: texts of a group never end up on two sides of a split.

    multi: whether a text may have several labels. how: which columns were read, in words.
    """

    texts: list[str]
    labels: list[tuple[str, ...]]
    multi: bool = False
    how: str = ""
    groups: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """All labels, sorted."""
        return sorted({label for labels in self.labels for label in labels})

    def only(self, rows: Iterable[int]) -> Labelled:
        """Some of the texts."""
        chosen = list(rows)
        texts, labels = [self.texts[i] for i in chosen], [self.labels[i] for i in chosen]
        return Labelled(texts, labels, self.multi, self.how, [self.groups[i] for i in chosen] if self.groups else [])


@dataclass(frozen=True)
class Row:
    """One text of a file; where: for errors."""

    where: str
    labels: tuple[str, ...]
    text: str


def split(data: Labelled, percent: int, salt: str = "") -> tuple[Labelled, Labelled]:
    """(the others, `percent` of the groups), by a hash of the group, or of the text where there are none: the same everywhere,
    and texts that are alike stay together. Raises DataError where a side is empty.
    """
    held = [held_out(salt + group, percent) for group in data.groups or data.texts]
    sides = [data.only(i for i, away in enumerate(held) if away == side) for side in (False, True)]
    if not all(side.texts for side in sides):
        raise DataError(f"Expected more texts than {len(data.texts)}: {percent} % of them are held out.")
    return sides[0], sides[1]


def read_labelled(path: Path, columns: Columns = Columns(), skip_bad: bool = False) -> Labelled:  # noqa: B008
    """The texts of a `.csv`, `.tsv` or `.jsonl` file.

    A text of several columns is joined by spaces. Without a header the class stands first and the text behind it, as in AG News;
    a `classes.txt` beside it names numbered classes. A list in JSON, or `columns.several`, means several labels a text.
    Raises DataError with the file and line for a missing column, an empty text or label, or text that is not UTF-8; with
    skip_bad, texts or labels that are empty are left out and counted in the log.
    """
    if path.suffix == ".jsonl":
        rows, how = from_json(path, columns)
    elif path.suffix in (".csv", ".tsv"):
        rows, how = from_table(path, columns)
    else:
        raise DataError(f"Expected a .csv, .tsv or .jsonl file of labelled texts, or debian:, found {path}.")
    good = [row for row in rows if row.text.strip() and row.labels]
    if len(good) < len(rows):
        bad = next(row for row in rows if row not in good)
        lacks = "label" if bad.text.strip() else "text"
        if not skip_bad:
            raise DataError(f"{bad.where}: the {lacks} is empty; mend it, or leave such rows out with --skip-bad.")
        log.warning("%d rows without a text or a label were left out, the first of them: %s", len(rows) - len(good), bad.where)
    if not good:
        raise DataError(f"Expected labelled texts in {path}, found none.")
    several = columns.several is not None or any(len(row.labels) > 1 for row in good)
    return Labelled([row.text for row in good], [row.labels for row in good], several, how)


def from_json(path: Path, columns: Columns) -> tuple[list[Row], str]:
    rows, how = list[Row](), ""
    for where, record in json_lines(path):
        label, texts = chosen(list(record), columns, where)
        if label is None:
            raise DataError(f"{where}: expected a field for the label and one for the text; found {listed(record)}. Name them "
                            "with --label and --text.")
        how = how or described(label, texts)
        value = record[label]
        labels = named(value) if isinstance(value, list) else parted(value, columns)
        rows.append(Row(where, labels, " ".join(str(record[name]) for name in texts if record[name] is not None)))
    return rows, how


def from_table(path: Path, columns: Columns) -> tuple[list[Row], str]:
    """A CSV or TSV file, with a header or without one."""
    table = cells(path)
    if not table:
        return [], ""
    head = [name.strip() for name in table[0][1]]
    label, texts = chosen(head, columns, table[0][0])
    if label is None:
        return headless(path, table, columns)
    if twice := next((name for name in (label, *texts) if head.count(name) > 1), None):
        raise DataError(f"{table[0][0]}: two columns are called {twice!r}; give one of them another name.")
    places, at = [head.index(name) for name in texts], head.index(label)
    for where, row in table[1:]:
        if len(row) != len(head):
            raise DataError(f"{where}: expected {len(head)} columns, as in the header, found {len(row)}.")
    rows = [Row(where, parted(row[at], columns), " ".join(row[i] for i in places)) for where, row in table[1:]]
    return rows, described(label, texts)


def headless(path: Path, table: list[tuple[str, list[str]]], columns: Columns) -> tuple[list[Row], str]:
    """The class first, then the text; what looks like a header that names neither is refused."""
    first = [row[0].strip() for _, row in table]
    if len(table[0][1]) < 2 or (columns.several is None and len(table) > 2 and first.count(first[0]) == 1):
        raise DataError(f"{table[0][0]}: expected a header with a label and a text column, or rows of a class and a text; found "
                        f"{listed(table[0][1])}. Name the columns with --label and --text.")
    names = read_text(path.parent / NAMES).split("\n") if (path.parent / NAMES).is_file() else []
    called = {str(i): name.strip() for i, name in enumerate(names, 1) if name.strip()}
    rows = [Row(where, tuple(called.get(label, label) for label in parted(row[0], columns)), " ".join(row[1:]))
            for where, row in table]
    return rows, f"no header: the label in the first column, the text behind it{f', names from {NAMES}' if called else ''}"


def cells(path: Path) -> list[tuple[str, list[str]]]:
    """("FILE, line 3", its cells) for each row that is not blank. In a .tsv a row is a line: where quotes would join lines, they
    are characters like others.
    """
    if path.suffix == ".csv":
        return rows_of(path, delimiter=",")
    found = rows_of(path, delimiter="\t")
    joined = any("\n" in cell for _, row in found for cell in row)
    return rows_of(path, delimiter="\t", quoting=csv.QUOTE_NONE) if joined else found


def rows_of(path: Path, **dialect: Any) -> list[tuple[str, list[str]]]:
    reader = csv.reader(io.StringIO(read_text(path), newline=""), **dialect)
    found = []
    try:
        for row in reader:
            if any(cell.strip() for cell in row):
                found.append((f"{path}, line {reader.line_num}", row))
    except csv.Error as error:
        raise DataError(f"{path}, line {reader.line_num}: expected a table, {error}.") from error
    return found


def chosen(names: Sequence[str], columns: Columns, where: str) -> tuple[str | None, list[str]]:
    """The label's column and the texts'; (None, …) where none was named and none has a usual name."""
    for name in filter(None, (columns.label, *columns.text)):
        if name not in names:
            raise DataError(f"{where}: there is no column {name!r}; found {listed(names)}.")
    label = columns.label or next((name for name in names if name.lower() in LABELS), None)
    texts = list(columns.text) or [name for name in names if name.lower() in TEXTS and name != label]
    named = columns.label is not None or bool(columns.text)
    if named and (label is None or not texts):
        lacks = "label" if label is None else "text"
        raise DataError(f"{where}: which column holds the {lacks}? Found {listed(names)}; name it with --{lacks}.")
    return (label, texts) if label is not None and texts else (None, [])


def parted(value: Any, columns: Columns) -> tuple[str, ...]:
    """The labels in one cell."""
    text = "" if value is None else str(value)
    return named(text.split(columns.several) if columns.several else [text])


def named(values: Iterable[Any]) -> tuple[str, ...]:
    """Labels without white space around them, each once; empty ones are none."""
    found = (str(value).strip() for value in values if value is not None)
    return tuple(dict.fromkeys(label for label in found if label))


def described(label: str, texts: Sequence[str]) -> str:
    return f"the label from {label!r}, the text from {' and '.join(map(repr, texts))}"


def listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name[:40]) for name in names) or "nothing"
