"""Checkpoints that survive a kill at any moment: written beside, flushed, then renamed."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from paceline.errors import DataError
from paceline.files import read_json, replace_json, replacing

__all__ = ["check_replaceable", "claim_folder", "latest", "replace_folder", "save", "steps_done"]

_NAME = re.compile(r"step-(\d+)\.pt")


def save(folder: Path, step: int, state: dict[str, Any], keep: int = 2) -> Path:
    """Write ``state`` as ``folder/step-<step>.pt`` and delete all but the ``keep`` newest; returns the path."""
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".step-*"):  # half of a checkpoint, by a run that was killed
        left.unlink()
    path = folder / f"step-{step:07d}.pt"
    with replacing(path, flush=True) as fresh:
        torch.save({"step": step, **state}, fresh)
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


def check_replaceable(folder: Path, mark: str = "training.json") -> None:
    """Asked before long work, so that `replace_folder` deletes nobody's files: raises DataError for a folder that holds some, but
    not `mark`, which is written here.
    """
    if not folder.name or folder.exists() and not (folder / mark).exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"Expected a new folder for --out, or one that was made like this before; found {folder} with other "
                        "files, which would be lost.")


def replace_folder(folder: Path, write: Callable[[Path], object]) -> Path:
    """Let ``write`` fill a fresh folder beside ``folder``, then put it in its place: readers never see half of it."""
    folder = folder.resolve()  # a link to it stays
    fresh, old = (folder.with_name(f".{folder.name}.{state}") for state in ("new", "old"))
    for leftover in (fresh, old):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh.mkdir(parents=True)
    write(fresh)
    if folder.exists():
        os.rename(folder, old)
    os.rename(fresh, folder)
    shutil.rmtree(old, ignore_errors=True)
    return folder


def claim_folder(folder: Path, settings: dict[str, Any]) -> Path:
    """Make ``folder`` the place of a job with these (JSON-able) settings; returns it.

    Raises:
        DataError: it was claimed with others before, so what lies there does not fit; or it cannot be made.
    """
    path = folder / "settings.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"Cannot make the folder {folder}: {error.strerror or error}.") from error
    before = read_json(path) if path.exists() else {}
    for key, value in settings.items():
        if before and before.get(key) != value:
            raise DataError(f"{folder} was begun with {key} = {before.get(key)}, not {value}; use another folder.")
    replace_json(path, {**before, **settings}, indent=2)
    return folder


def _all(folder: Path) -> list[Path]:
    return sorted(p for p in folder.glob("step-*.pt") if _NAME.fullmatch(p.name))
