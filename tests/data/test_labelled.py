"""Labelled texts: columns guessed or named, and one clear sentence for each thing that can be wrong."""

from __future__ import annotations

import gzip
import json
import subprocess
from pathlib import Path

import pytest

from paceline.data import debian as index
from paceline.data.debian import debian
from paceline.data.labelled import Columns, Labelled, read_labelled, split
from paceline.errors import DataError


def test_tables_with_and_without_a_header(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('id,Title,description,Class\n1,"Cup, won",by a goal,Sports\n2,Rates,rise,Business\n')
    found = read_labelled(tmp_path / "a.csv")
    assert found.texts == ["Cup, won by a goal", "Rates rise"] and found.labels == [("Sports",), ("Business",)]
    assert "'Class'" in found.how and "'Title' and 'description'" in found.how and not found.multi
    named = read_labelled(tmp_path / "a.csv", Columns("Class", ("Title",)))
    assert named.texts == ["Cup, won", "Rates"]
    (tmp_path / "ag.csv").write_text('"2","Cup","won"\n"1","Rates","rise"\n"2","Match","lost"\n"1","x","y"\n')
    bare = read_labelled(tmp_path / "ag.csv")
    assert bare.names == ["1", "2"] and bare.texts[0] == "Cup won"
    (tmp_path / "classes.txt").write_text("\ufeffBusiness\r\nSports\n")
    assert read_labelled(tmp_path / "ag.csv").names == ["Business", "Sports"]
    (tmp_path / "classes.txt").write_bytes(b"\xe9\n")
    with pytest.raises(DataError, match="classes.txt: expected text in UTF-8"):
        read_labelled(tmp_path / "ag.csv")


def test_several_labels_a_text(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("text\tlabels\na cup\ttea;sports\na pot\ttea\n")
    assert read_labelled(tmp_path / "a.tsv", Columns(several=";")).labels == [("tea", "sports"), ("tea",)]
    records = [{"text": "a", "label": ["x", "y"]}, {"text": "b", "label": ["x"]}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    found = read_labelled(tmp_path / "a.jsonl")
    assert found.multi and found.labels == [("x", "y"), ("x",)]


def test_labels_in_a_list_are_read_as_those_in_a_cell(tmp_path: Path) -> None:
    records = [{"text": "a", "label": ["x", " x "]}, {"text": "b", "label": [None, "", "y"]}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    found = read_labelled(tmp_path / "a.jsonl")
    assert not found.multi and found.labels == [("x",), ("y",)]


def test_a_lone_quote_joins_no_lines_of_a_tsv(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text('label\ttext\npos\t"Great movie\nneg\tnot so\npos\t5" of snow\nneg\t"x" here\n')
    assert read_labelled(tmp_path / "a.tsv").texts == ['"Great movie', "not so", '5" of snow', '"x" here']
    (tmp_path / "b.tsv").write_text('label\ttext\npos\t"a ""b"" c"\nneg\td\n')
    assert read_labelled(tmp_path / "b.tsv").texts == ['a "b" c', "d"]


@pytest.mark.parametrize(("content", "columns", "complaint"), [
    (b"label,text,text\na,b,c\n", Columns(), "two columns are called 'text'; give one of them another name"),
    (b"text,label\nhello,\n", Columns(), "line 2: the label is empty; mend it, or leave such rows out with --skip-bad"),
    (b"text,label\n ,x\n", Columns(), "line 2: the text is empty"),
    (b"text,label\ncaf\xe9,x\n", Columns(), "expected text in UTF-8; found the byte 0xe9"),
    (b"text,label\na,b,c\n", Columns(), "line 2: expected 2 columns, as in the header, found 3"),
    (b"text,label\na,b\n", Columns(label="kind"), "there is no column 'kind'; found 'text', 'label'"),
    (b"words,label\na,b\n", Columns(label="label"), "which column holds the text. Found 'words', 'label'; name it with --text"),
    (b"words,mood\na,b\nc,b\n", Columns(), "line 1: expected a header with a label and a text column"),
    (b"text,label\n", Columns(), "Expected labelled texts in .*found none"),
])  # fmt: skip
def test_what_is_wrong_is_said(tmp_path: Path, content: bytes, columns: Columns, complaint: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=complaint):
        read_labelled(tmp_path / "a.csv", columns)


def test_bad_rows_can_be_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.csv").write_text("text,label\nhello,\nyes,x\n")
    assert read_labelled(tmp_path / "a.csv", skip_bad=True).texts == ["yes"]
    assert "1 rows without a text or a label were left out" in caplog.text and "line 2" in caplog.text


def test_files_of_other_kinds(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Expected a \.csv, \.tsv or \.jsonl file"):
        read_labelled(tmp_path / "a.xlsx")
    with pytest.raises(DataError, match="Cannot read the file"):
        read_labelled(tmp_path / "a.csv")


def test_a_split_keeps_groups_together() -> None:
    groups = [f"g{i // 3}" for i in range(300)]
    data = Labelled([str(i) for i in range(300)], [("x",)] * 300, groups=groups)
    rest, held = split(data, 20)
    assert set(rest.groups).isdisjoint(held.groups) and 30 < len(held.texts) < 90 and len(rest.texts) + len(held.texts) == 300
    with pytest.raises(DataError, match="held out"):
        split(data.only([0]), 20)


PACKAGES = "\n\n".join(
    f"Package: tool{i}\nSource: suite{i // 2} (1.0)\nSection: {'contrib/games' if i % 2 else 'net'}\n"
    f"Description: tool{i}: a suite{i // 2} thing number {i}\n Longer words.\n"
    f"Tag: role::program,\n game::board{', rare::tag' * (i == 0)}"
    for i in range(120)
)  # fmt: skip


def test_the_package_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Packages.gz").write_bytes(gzip.compress(PACKAGES.encode()))
    found = debian(f"debian:tags@{tmp_path / 'Packages.gz'}")
    assert found.multi and found.names == ["game::board", "role::program"]  # the rare one is gone
    assert found.texts[4] == "a thing number 4" and found.groups[4:6] == ["suite2"] * 2
    asked = subprocess.CompletedProcess([], 0, PACKAGES.encode())
    monkeypatch.setattr(index.subprocess, "run", lambda *a, **k: asked)
    assert debian("debian:section").names == ["games", "net"]
    with pytest.raises(DataError, match="no task 'sections'.*Did you mean 'section'"):
        debian("debian:sections")
    monkeypatch.setattr(index.subprocess, "run", lambda *a, **k: subprocess.CompletedProcess([], 0, b""))
    with pytest.raises(DataError, match="Expected packages with a tag"):
        debian("debian:")


def test_where_there_is_no_apt(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*a: object, **k: object) -> None:
        raise FileNotFoundError("apt-cache")

    monkeypatch.setattr(index.subprocess, "run", missing)
    with pytest.raises(DataError, match="Expected apt-cache.*name a Packages file: debian:tags@FILE"):
        debian("debian:")
