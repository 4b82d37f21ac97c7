"""Folders change at once or not at all, and a job's folder refuses another job."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from paceline.errors import DataError
from paceline.train.checkpoint import check_replaceable, claim_folder, latest, replace_folder, save, steps_done


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    place = tmp_path / "model"
    replace_folder(place, lambda fresh: (fresh / "a").write_text("1"))
    replace_folder(place, lambda fresh: (fresh / "b").write_text("2"))
    assert [p.name for p in place.iterdir()] == ["b"] and [p.name for p in tmp_path.iterdir()] == ["model"]


def test_nobodys_files_are_replaced(tmp_path: Path) -> None:
    for name in ("model.old", "model.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine").write_text("kept")
    place = tmp_path / "model"
    check_replaceable(place)
    replace_folder(place, lambda fresh: (fresh / "training.json").write_text("{}"))
    check_replaceable(place)
    (tmp_path / "empty").mkdir()
    check_replaceable(tmp_path / "empty")
    for other in (tmp_path / "model.old", tmp_path / "model.old" / "mine", Path(".")):
        with pytest.raises(DataError, match="other files, which would be lost"):
            check_replaceable(other)
    assert {p.name for p in tmp_path.rglob("mine")} == {"mine"} and len(list(tmp_path.rglob("mine"))) == 2
    with pytest.raises(DataError, match="Cannot make the folder .*mine: File exists"):
        claim_folder(tmp_path / "model.old" / "mine", {"width": 1})


def test_a_link_to_a_folder_stays(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for text in ("1", "2"):
        replace_folder(tmp_path / "link", lambda fresh, text=text: (fresh / "a").write_text(text))
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real" / "a").read_text() == "2"


def test_a_failed_write_leaves_the_old_folder(tmp_path: Path) -> None:
    place = tmp_path / "model"
    replace_folder(place, lambda fresh: (fresh / "a").write_text("1"))

    def fail(fresh: Path) -> None:
        (fresh / "half").write_text("2")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        replace_folder(place, fail)
    assert [p.name for p in place.iterdir()] == ["a"]


def test_the_newest_two_are_kept(tmp_path: Path) -> None:
    for step in (9, 10, 200):
        save(tmp_path, step, {"x": torch.tensor(step)})
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["step-0000010.pt", "step-0000200.pt"]
    assert latest(tmp_path)["step"] == 200 == steps_done(tmp_path)  # type: ignore[index]
    assert steps_done(tmp_path / "none") == 0


def test_a_claimed_folder_refuses_other_settings(tmp_path: Path) -> None:
    claim_folder(tmp_path / "job", {"seed": 0, "share": 0.5})
    assert claim_folder(tmp_path / "job", {"seed": 0, "share": 0.5}) == tmp_path / "job"
    with pytest.raises(DataError, match="seed = 0, not 1"):
        claim_folder(tmp_path / "job", {"seed": 1, "share": 0.5})
