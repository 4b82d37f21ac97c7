"""The allocator setting takes effect where glibc is, and is harmless elsewhere."""

from __future__ import annotations

import ctypes
import platform

import pytest

from paceline.lm.memory import keep_memory


def test_set_on_glibc_and_only_there() -> None:
    assert keep_memory() is (platform.libc_ver()[0] == "glibc")


def test_other_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert keep_memory.__wrapped__() is False
