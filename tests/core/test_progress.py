"""The line for what takes long: late, on terminals only, and gone afterwards."""

from __future__ import annotations

import io
import sys
import threading

import pytest

from paceline.core import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> list[threading.Timer]:
    """Timers that go off when a test says so."""
    made = list[threading.Timer]()

    def timer(seconds: float, call):  # noqa: ANN001, ANN202
        assert seconds == progress.PATIENCE_S
        made.append(threading.Thread(target=call))
        made[-1].start = made[-1].cancel = lambda: None
        return made[-1]

    monkeypatch.setattr(progress.threading, "Timer", timer)
    return made


def seen(text: str) -> list[str]:
    """What stood in the line, one after the other."""
    return text.split(progress.ERASE)[1:]


def test_the_innermost_is_shown_and_the_line_ends_empty(monkeypatch: pytest.MonkeyPatch, late: list) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with pytest.raises(ZeroDivisionError), progress.waiting("loading"):
        with progress.waiting("reading"):
            late[-1].run()
        with progress.waiting("checking"):
            raise ZeroDivisionError
    names = ["reading", "loading", "checking", "loading"]
    assert seen(sys.stderr.getvalue()) == [*(f"paceline: {name} …" for name in names), ""]


def test_what_is_quick_is_not_told(monkeypatch: pytest.MonkeyPatch, late: list) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress.waiting("loading"), progress.waiting("checking"):
        pass
    late[-1].run()  # went off too late to be called back
    assert sys.stderr.getvalue() == "" and len(late) == 1


def test_a_long_text_stays_within_one_line(monkeypatch: pytest.MonkeyPatch, late: list) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("COLUMNS", "20")
    with progress.waiting("loading" * 9):
        late[-1].run()
    assert max(map(len, seen(sys.stderr.getvalue()))) < 20


@pytest.mark.parametrize("stream", [io.StringIO(), None])
def test_nothing_where_nobody_looks(monkeypatch: pytest.MonkeyPatch, late: list, stream: io.StringIO | None) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    with progress.waiting("loading"):
        assert not late
    assert stream is None or stream.getvalue() == ""
