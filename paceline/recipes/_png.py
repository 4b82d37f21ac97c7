"""Grey images as one PNG, without a drawing library: a grid of small pictures, each pixel a square."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from paceline.files import replace_bytes

__all__ = ["grid", "write_png"]

SCALE, GAP = 6, 4  # screen pixels of an image's pixel, and between images


def grid(images: np.ndarray, columns: int) -> np.ndarray:
    """Images [N, H, W] with values in 0 … 1 (1 = ink) as one picture [rows, columns] of bytes, dark on white."""
    n, h, w = images.shape
    tall, wide = SCALE * h + GAP, SCALE * w + GAP
    sheet = np.full((GAP + tall * -(-n // columns), GAP + wide * columns), 255, dtype=np.uint8)
    for i, image in enumerate(images):
        top, left = GAP + tall * (i // columns), GAP + wide * (i % columns)
        square = np.kron(255 - np.rint(255 * image), np.ones((SCALE, SCALE)))
        sheet[top : top + SCALE * h, left : left + SCALE * w] = square.astype(np.uint8)
    return sheet


def write_png(path: Path, sheet: np.ndarray) -> None:
    """Write a grey picture [H, W] of bytes, in one move (PNG specification, section 5: IHDR, IDAT, IEND)."""
    height, width = sheet.shape
    rows = np.concatenate((np.zeros((height, 1), np.uint8), sheet), 1).tobytes()  # each row begins with its filter, 0 = none
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")]
    whole = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks)
    replace_bytes(path, whole)
