"""Small grey images as token sequences: scikit-learn's digits, 8 x 8 pixels of 17 levels, behind a token for their class.

Ids 0 to 16 are grey levels (neighbours in id are neighbours in brightness), then come ten classes and the null class, which
stands in a class's place where guidance needs a model without the condition.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from paceline.errors import ModelError

__all__ = ["CLASSES", "LEVELS", "NULL", "PIXELS", "SIDE", "VOCABULARY", "Images", "augmented", "load_digits", "made_up"]

SIDE, LEVELS, CLASSES = 8, 17, 10
PIXELS, NULL = SIDE * SIDE, LEVELS + CLASSES
VOCABULARY = NULL + 1
HELD_EVERY = 10
NOISE = 0.3  # share of the inked pixels that augmentation moves by one level: less lets a model learn the images by heart


@dataclass(frozen=True)
class Images:
    """``pixels [N, 64]`` int64 in raster order, 0 to 16; ``classes [N]`` 0 to 9."""

    pixels: np.ndarray
    classes: np.ndarray

    def __len__(self) -> int:
        return len(self.classes)

    def pick(self, which: np.ndarray | slice) -> Images:
        return Images(self.pixels[which], self.classes[which])

    def split(self) -> tuple[Images, Images]:
        """(to learn from, held out): every tenth image is held out."""
        held = np.arange(len(self)) % HELD_EVERY == HELD_EVERY - 1
        return self.pick(~held), self.pick(held)


def load_digits() -> Images:
    """The 1,797 images of scikit-learn's digits. Raises ModelError where it is not installed."""
    try:
        from sklearn import datasets
    except ImportError as error:
        raise ModelError("The digits come with scikit-learn: install paceline[images], or give --fast to see that all "
                         "works on made-up images.") from error
    found = datasets.load_digits()
    return Images(found.data.astype(np.int64), found.target.astype(np.int64))


def made_up(count: int = 200, seed: int = 0) -> Images:
    """Bars whose place tells their class, with noise: for tests."""
    rng = np.random.default_rng(seed)
    classes = np.arange(count) % CLASSES
    pixels = rng.integers(0, 3, (count, SIDE, SIDE))
    for image, digit in zip(pixels, classes, strict=True):
        image[:, digit % SIDE] = rng.integers(12, LEVELS, SIDE)
    return Images(pixels.reshape(count, PIXELS), classes)


def augmented(images: Images, rng: np.random.Generator) -> Images:
    """Half of them moved by up to a pixel each way, and three tenths of the ink one level lighter or darker."""
    padded = np.pad(images.pixels.reshape(-1, SIDE, SIDE), ((0, 0), (1, 1), (1, 1)))
    moves = np.where(rng.random((len(images), 1)) < 0.5, rng.integers(0, 3, (len(images), 2)), 1)
    moved = np.stack([p[y : y + SIDE, x : x + SIDE] for p, (y, x) in zip(padded, moves, strict=True)]).reshape(-1, PIXELS)
    step = rng.choice([-1, 1], moved.shape) * (rng.random(moved.shape) < NOISE) * (moved > 0)
    return Images(np.clip(moved + step, 0, LEVELS - 1), images.classes)
