"""`paceline cook images --fast`: models that draw, resumable, and a picture that is one."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

import paceline
from paceline.data.digits import LEVELS, NULL, PIXELS, SIDE, VOCABULARY, made_up
from paceline.errors import DataError, RequestError
from paceline.recipes import images
from paceline.recipes._png import GAP, SCALE, grid, write_png
from paceline.recipes.images import Config, asked, batch, laid_out, pictures, pixels, run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(Config(out=tmp_path_factory.mktemp("digits"), fast=True))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return paceline.load(str(folder), dtype="fp32").model.state_dict()


def test_both_models_draw_grey_levels(folder: Path) -> None:
    drafter = f"small_model:model={folder / 'draft'},length=4,worth=0"
    drawn = pictures(folder, asked([0, 5, 9], guidance=2.0, seed=3), drafter=drafter, rule="annealed:delta=1.5")
    found = pixels(drawn)
    assert found.shape == (3, SIDE, SIDE) and found.min() >= 0 and found.max() < LEVELS
    assert all(len(g.tokens) == PIXELS and g.stats.accepted > 0 and g.stats.spent > 0 and not g.stats.failures for g in drawn)


def test_a_report_and_a_picture(folder: Path) -> None:
    report = json.loads((folder / "images.json").read_text())
    assert 0 < report["tv"] < 1 and len(report["tv_by_row"]) == SIDE and set(report["nats_per_pixel"]) == {"target", "draft"}
    assert (folder / "grid.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_done_is_not_done_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "train", None)
    run(Config(out=folder, fast=True))
    with pytest.raises(DataError, match="was begun with"):
        run(Config(out=folder, fast=True, seed=1))


def test_a_killed_run_ends_with_the_same_models(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after the target was trained, before it was written: training is resumed at its end, drawing done again."""
    whole = images.replace_folder

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(images, "replace_folder", killed)
    with pytest.raises(KeyboardInterrupt):
        run(Config(out=tmp_path, fast=True))
    assert not (tmp_path / "target").exists()
    monkeypatch.setattr(images, "replace_folder", whole)
    run(Config(out=tmp_path, fast=True))
    for name in ("target", "draft"):
        one, other = weights(folder / name), weights(tmp_path / name)
        assert all(torch.equal(one[key], other[key]) for key in one)
    assert (tmp_path / "grid.png").read_bytes() == (folder / "grid.png").read_bytes()


def test_rows_are_classes_and_pixels() -> None:
    some = made_up(20)
    rows = laid_out(some, np.arange(20) < 5)
    assert rows.tokens.shape == rows.labels.shape == (20, PIXELS)
    assert (rows.tokens[:5, 0] == NULL).all() and rows.tokens[5:, 0].tolist() == (some.classes[5:] + LEVELS).tolist()
    assert torch.equal(rows.tokens[:, 1:], rows.labels[:, :-1]) and int(rows.labels.max()) < LEVELS < VOCABULARY
    config = Config(rows=1000)
    dropped = (batch(some, config, 0, augment=False).tokens[:, 0] == NULL).float().mean()
    assert 0.07 < dropped < 0.13
    assert torch.equal(batch(some, config, 3, True).tokens, batch(some, config, 3, True).tokens)
    assert not torch.equal(batch(some, config, 3, True).tokens, batch(some, config, 4, True).tokens)


def test_a_picture_is_a_png(tmp_path: Path) -> None:
    sheet = grid(np.stack([np.zeros((2, 2)), np.ones((2, 2))]), columns=2)
    assert sheet.shape == (2 * GAP + 2 * SCALE, GAP + 2 * (2 * SCALE + GAP))
    assert sheet[GAP, GAP] == 255 and sheet[GAP, -GAP - 1] == 0
    write_png(tmp_path / "two.png", sheet)
    data = (tmp_path / "two.png").read_bytes()
    assert struct.unpack(">II", data[16:24]) == sheet.shape[::-1]
    start = data.index(b"IDAT")
    size = struct.unpack(">I", data[start - 4 : start])[0]
    rows = np.frombuffer(zlib.decompress(data[start + 4 : start + 4 + size]), np.uint8).reshape(len(sheet), -1)
    assert (rows[:, 1:] == sheet).all() and (rows[:, 0] == 0).all()
    assert [p.name for p in tmp_path.iterdir()] == ["two.png"]


@pytest.mark.parametrize("wrong", [{"dropout": 1.0}, {"steps": 0}, {"rows": 0}])
def test_senseless_numbers_are_refused(wrong: dict[str, float], tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="at least 1"):
        run(Config(out=tmp_path, **wrong))
