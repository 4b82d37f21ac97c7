"""Checkpoints that survive a kill at any moment: written beside, flushed, then renamed."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from paceline.errors import DataError

__all__ = ["claim_folder", "latest", "replace_file", "replace_folder", "save", "steps_done"]

_NAME = re.compile(r"step-(\d+)\.pt")


def save(folder: Path, step: int, state: dict[str, Any], keep: int = 2) -> Path:
    """Write ``state`` as ``folder/step-<step>.pt`` and delete all but the ``keep`` newest; returns the path."""
    folder.mkdir(parents=True, exist_ok=True)
    path, partial = folder / f"step-{step:07d}.pt", folder / "writing.tmp"
    with open(partial, "wb") as file:
        torch.save({"step": step, **state}, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
    for old in _all(folder)[:-keep]:
        old.unlink()
    return path


def latest(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint in ``folder``, or None when there is none (a fresh start)."""
    found = _all(folder)
    return torch.load(found[-1], map_location="cpu", weights_only=True) if found else None


def steps_done(folder: Path) -> int:
    """The step of the newest checkpoint in ``folder``, 0 where there is none."""
    found = _all(folder)
    return int(found[-1].stem.removeprefix("step-")) if found else 0


def replace_folder(folder: Path, write: Callable[[Path], object]) -> Path:
    """Let ``write`` fill a fresh folder beside ``folder``, then put it in its place: readers never see half of it."""
    fresh, old = folder.with_name(folder.name + ".tmp"), folder.with_name(folder.name + ".old")
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh.mkdir(parents=True)
    write(fresh)
    if folder.exists():
        os.rename(folder, old)
    os.rename(fresh, folder)
    shutil.rmtree(old, ignore_errors=True)
    return folder


def replace_file(path: Path, write: Callable[[Path], object]) -> Path:
    """Let ``write`` fill a file beside ``path``, then put it in its place."""
    fresh = path.with_name(f".{path.stem}.tmp{path.suffix}")
    write(fresh)
    os.replace(fresh, path)
    return path


def claim_folder(folder: Path, settings: dict[str, Any]) -> Path:
    """Make ``folder`` the place of a job with these (JSON-able) settings; returns it.

    Raises:
        DataError: it was claimed with others before, so what lies there does not fit.
    """
    path = folder / "settings.json"
    folder.mkdir(parents=True, exist_ok=True)
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for key, value in settings.items():
        if before and before.get(key) != value:
            raise DataError(f"{folder} was begun with {key} = {before.get(key)}, not {value}; use another folder.")
    partial = folder / f"settings.{os.getpid()}.tmp"
    partial.write_text(json.dumps({**before, **settings}, indent=2) + "\n", encoding="utf-8")
    os.replace(partial, path)
    return folder


def _all(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("step-*.pt") if _NAME.fullmatch(p.name))
