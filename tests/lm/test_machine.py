"""The processor by name, and by all that it can do."""

from __future__ import annotations

from pathlib import Path

import pytest

from paceline.lm import machine


def test_the_processor_is_told_by_what_the_system_says(monkeypatch: pytest.MonkeyPatch) -> None:
    told = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: fpu avx2\ncpu MHz\t: 2000.1\n"
    monkeypatch.setattr(Path, "read_text", lambda self, encoding: told + told.replace("2000.1", "1999.9"))
    assert machine.processor() == "Some CPU @ 2 GHz"
    assert machine.processor_details() == "flags\t\t: fpu avx2\nmodel name\t: Some CPU @ 2 GHz"  # the same at every speed


def test_a_system_that_says_nothing_still_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(self: Path, encoding: str) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", nothing)
    assert machine.processor() and machine.processor_details()
