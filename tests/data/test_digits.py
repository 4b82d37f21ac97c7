"""Digits as tokens: what augmentation may change, and what the made-up ones look like."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from paceline.data.digits import LEVELS, SIDE, Images, augmented, load_digits, made_up
from paceline.errors import ModelError


def test_made_up_images_tell_their_class() -> None:
    images = made_up(40, seed=1)
    bright = images.pixels.reshape(-1, SIDE, SIDE).sum(1).argmax(1)
    assert (bright == images.classes % SIDE).all() and images.pixels.max() < LEVELS
    assert (made_up(40, seed=1).pixels == images.pixels).all()


def test_every_tenth_image_is_held_out() -> None:
    images = made_up(40)
    learned, held = images.split()
    assert (len(learned), len(held)) == (36, 4)
    assert (held.pixels == images.pixels[9::10]).all()


def test_augmentation_moves_by_a_pixel_and_a_level() -> None:
    dot = np.zeros((300, SIDE, SIDE), dtype=np.int64)
    dot[:, 4, 4] = 10
    found = augmented(Images(dot.reshape(300, -1), np.zeros(300)), np.random.default_rng(0)).pixels.reshape(-1, SIDE, SIDE)
    assert set(found.sum((1, 2))) == {9, 10, 11}
    places = {tuple(int(i[0]) for i in image.nonzero()) for image in found}
    assert places == {(y, x) for y in (3, 4, 5) for x in (3, 4, 5)}
    unmoved = (found[:, 4, 4] > 0).mean()
    assert 0.45 < unmoved < 0.70


def test_the_digits() -> None:
    pytest.importorskip("sklearn")
    images = load_digits()
    assert images.pixels.shape == (1797, 64) and set(images.classes) == set(range(10))
    assert (images.pixels.min(), images.pixels.max()) == (0, LEVELS - 1)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(ModelError, match=r"paceline\[images\]"):
        load_digits()
