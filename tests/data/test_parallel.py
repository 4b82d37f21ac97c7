"""Parallel texts are read from what people have; what is wrong is said with its place."""

from __future__ import annotations

import gzip
import struct
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from paceline.data.parallel import Pairs, catalogue, languages, read_pairs, split
from paceline.errors import DataError


def written(path: Path, text: str | bytes) -> str:
    raw = text.encode() if isinstance(text, str) else text
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)
    return str(path)


def compiled(messages: dict[str, str], order: str = "<") -> bytes:
    """A .mo file, as msgfmt lays it out."""
    sides = [[text.encode() for text in side] for side in (messages, messages.values())]
    at, tables, body = 28 + 16 * len(messages), b"", b""
    for side in sides:
        for text in side:
            tables += struct.pack(f"{order}2I", len(text), at + len(body))
            body += text + b"\0"
    return struct.pack(f"{order}7I", 0x950412DE, 0, len(messages), 28, 28 + 8 * len(messages), 0, 0) + tables + body


def test_two_files_a_table_and_compressed_ones_hold_the_same(tmp_path: Path) -> None:
    left, right = "a  house\n\na car\n", "ein Haus\nleer\nein\u2028Auto\n"
    for end in ("", ".gz"):
        found = read_pairs(written(tmp_path / f"x.en{end}", left), written(tmp_path / f"x.de{end}", right))
        assert found == Pairs(["a house", "a car"], ["ein Haus", "ein Auto"])
    assert read_pairs(written(tmp_path / "x.tsv", "a house\tein Haus\na car\tein Auto\n")) == found


def test_what_is_left_out_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read_pairs(written(tmp_path / "x.en", "a\n\nb\n \n"), written(tmp_path / "x.de", "c\nd\ne\nf\n"))
    assert "2 pairs with an empty side were left out, the first of them: line 2" in caplog.text


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_catalogue(tmp_path: Path, order: str) -> None:
    messages = {"": "Content-Type: text/plain; charset=UTF-8\n", "Open": "Öffnen", "menu\x04Close": "Schließen", "OK": "OK",
                "%d file\0%d files": "%d Datei\0%d Dateien"}
    raw = compiled(messages, order)
    plural = [("%d file", "%d Datei"), ("%d files", "%d Dateien")]
    assert list(catalogue(raw, "x"))[1:] == [("Close", "Schließen"), ("OK", "OK"), *plural]
    written(tmp_path / "a.mo", raw)
    written(tmp_path / "b.mo", compiled({"Open": "Auf", "%d file\0%d files": "%d tệp"}))
    found = read_pairs(str(tmp_path))
    assert found.source == ["Open", "Close", "%d file", "%d files"] and found.target[0] == "Öffnen"
    assert list(catalogue(compiled({"%d file\0%d files": "%d tệp"}), "x")) == [("%d files", "%d tệp")]


def test_no_source_stands_on_both_sides() -> None:
    pairs = Pairs([f"text {i % 200}" for i in range(400)], ["x"] * 400)
    learned, held = split(pairs, 10)
    assert not set(learned.source) & set(held.source) and len(learned) + len(held) == 400 and 10 < len(held) < 80


def test_names_of_languages() -> None:
    assert languages("a/train.en.gz", "b.c/train.de") == languages("hub:x/y@en-de") == ("en", "de")
    assert languages("a.txt", "b.txt") == languages("a", "b.de") == languages("x.tsv") == languages("hub:x") == ("", "")


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("a\nb\nc\n", "d\ne\n", r"found 3 and 2: line 3 of .*x.en has no partner"),
        ("a\n", "d\ne\n", r"found 1 and 2: line 2 of .*x.de has no partner"),
        (b"a\xe4\n", "d\n", r"x.en: expected text in UTF-8; found the byte 0xe4 at 1. Save it as UTF-8."),
        ("", "", "found none"),
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, source, target, said: str) -> None:
    with pytest.raises(DataError, match=said):
        read_pairs(written(tmp_path / "x.en", source), written(tmp_path / "x.de", target))


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("x.tsv", "a\tb\nlonely\n", "line 2: expected two columns"),
        ("x.mo", b"\xde\x12\x04\x95\0\0", "expected a compiled gettext catalogue"),
        ("y.mo", b"hello world", "expected a compiled gettext catalogue"),
        ("x.en", "a\n", "Expected a file of translations beside"),
        ("x.tsv.gz", None, "Cannot read"),
    ],
)
def test_one_file_that_does_not_fit(tmp_path: Path, name: str, text, said: str) -> None:
    path = str(tmp_path / name) if text is None else written(tmp_path / name, text)
    with pytest.raises(DataError, match=said):
        read_pairs(path)
    with pytest.raises(DataError, match="Expected languages behind the data set"):
        read_pairs("hub:multi30k")


def test_a_packed_file_that_is_damaged(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(b"one house\n" * 50))
    packed[12] ^= 0xFF
    (tmp_path / "x.tsv.gz").write_bytes(packed)
    with pytest.raises(DataError, match="expected a .gz file"):
        read_pairs(str(tmp_path / "x.tsv.gz"))


def test_a_data_set_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(name: str, configuration: str | None, split: str) -> list[dict]:
        asked.append((name, configuration, split))
        if name == "no/where":
            raise ConnectionError("no such data set\nand so on")
        return [{"translation": {"en": "a car", "de": "ein Auto"}}, {"translation": {"en": "a house", "de": None}}]

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    assert read_pairs("hub:x/y@en-de") == read_pairs("hub:x/y:de-en@en-de") == Pairs(["a car"], ["ein Auto"])
    assert asked == [("x/y", None, "train"), ("x/y", "de-en", "train")]
    for spec, complaint in (("x/y@en-fr", "expected 'en' and 'fr' in a row"), ("no/where@en-de", "be read: no such data set$")):
        with pytest.raises(DataError, match=complaint):
            read_pairs(f"hub:{spec}")
