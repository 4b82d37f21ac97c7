"""What people hand in is read in one way, and no file is opened in the terminal's encoding."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from paceline.errors import DataError
from paceline.files import json_lines, lines, read_json, read_text, replacing

ROOT = Path(__file__).resolve().parents[1]
OPENING = ("open", "fdopen", "read_text", "write_text")


def test_only_line_feeds_end_a_line_and_blank_ones_count(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes('\ufeff{"a": "x\u2028y\u2029\x85"}\r\n\n{"b": "\\ud83d\\ude00"}'.encode())
    assert [where.rpartition(", ")[2] for where, _ in lines(path)] == ["line 1", "line 3"]
    assert [record for _, record in json_lines(path)] == [{"a": "x\u2028y\u2029\x85"}, {"b": "😀"}]


@pytest.mark.parametrize(("content", "said"), [
    (b"\xff\xfea\x00", "expected text in UTF-8; found the byte 0xff at 0"), (b'"\\udc00"', "half a surrogate pair"),
    (b"{", "expected JSON, found '{'"), (b"[" * 10**5, "expected JSON"), (b"", "expected JSON"),
])
def test_a_bad_file_is_one_sentence_with_its_name(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match="a.json") as error:
        read_json(tmp_path / "a.json")
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_is_not_there_or_is_a_folder(tmp_path: Path) -> None:
    for path, why in ((tmp_path / "none", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(DataError, match=why):
            read_text(path)


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(DataError, match=r"^Cannot write \S+a.json: disk full\.$"), replacing(path, flush=True) as fresh:
        fresh.write_text("half", encoding="utf-8")
        raise OSError("disk full")
    assert path.read_text(encoding="utf-8") == "old" and list(tmp_path.iterdir()) == [path]
    with replacing(path, flush=True) as fresh:
        fresh.write_text("new", encoding="utf-8")
    assert path.read_text(encoding="utf-8") == "new" and list(tmp_path.iterdir()) == [path]


def unnamed(source: str) -> list[int]:
    """Lines on which a text file is opened without naming its encoding."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    opening = [c for c in calls if ast.unparse(c.func) == "open" or getattr(c.func, "attr", "") in OPENING]
    return [c.lineno for c in opening if not is_binary(c) and all(keyword.arg != "encoding" for keyword in c.keywords)]


def is_binary(call: ast.Call) -> bool:
    return any(ast.unparse(argument) in ("'rb'", "'wb'", "'ab'", "'r+b'") for argument in call.args)


def test_every_text_file_is_opened_with_its_encoding() -> None:
    assert unnamed('open(p)\np.read_text()\np.write_text(b)\nopen(p, "rb")\np.open("w", encoding="utf-8")') == [1, 2, 3]
    paths = [*(ROOT / "paceline").rglob("*.py"), *(ROOT / "docs").glob("*.py")]
    assert not {path.name: wrong for path in paths if (wrong := unnamed(path.read_text(encoding="utf-8")))}
