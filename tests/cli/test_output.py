"""JSON files appear whole or not at all, and trouble is one sentence before the work starts."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from paceline.cli._output import check_writable, write_json, write_text
from paceline.errors import DataError


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    path.write_text("old")
    write_json({"a": "é"}, str(path))
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": "é"}
    assert [p.name for p in tmp_path.iterdir()] == ["out.json"]


def test_dash_is_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    write_json([1], "-")
    assert json.loads(capsys.readouterr().out) == [1]


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "out.json"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(DataError, match="No space left on device"):
        write_json([1], str(path))
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["out.json"]


def test_no_permission_is_found_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "locked"
    folder.mkdir()
    folder.chmod(0o555)
    if os.access(folder, os.W_OK):  # root may write anywhere: let the call itself say no
        import tempfile

        def denied(*_: object, **__: object) -> None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

        monkeypatch.setattr(tempfile, "NamedTemporaryFile", denied)
    with pytest.raises(DataError, match="Permission denied"):
        check_writable(str(folder / "out.json"))


def test_a_link_and_a_pipe_stay_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for text in ("1", "2"):
        check_writable(str(tmp_path / "link"))
        write_text(text, str(tmp_path / "link"))
        assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_text() == text
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_text("told", str(tmp_path / "pipe"))
    assert os.read(reader, 9) == b"told" and (tmp_path / "pipe").is_fifo()
    os.close(reader)


@pytest.mark.parametrize("place", ["missing/out.json", ".", "x" * 300])
def test_places_that_cannot_be(tmp_path: Path, place: str) -> None:
    with pytest.raises(DataError, match="No such file|is a folder|File name too long"):
        check_writable(str(tmp_path / place))


def test_good_places_leave_no_trace(tmp_path: Path) -> None:
    check_writable(str(tmp_path / "out.json"))
    check_writable("-")
    check_writable(None)
    assert not list(tmp_path.iterdir())
