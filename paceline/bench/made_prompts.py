"""Prompts that are made here, for what no data set has: a text to copy, where lookup may shine, and one that nobody foresees."""

from __future__ import annotations

import random
import string

from paceline.bench.tasks import Prompt, builtin
from paceline.errors import DataError, did_you_mean

__all__ = ["MADE_KINDS", "made_prompts"]

MADE_KINDS = ("copying", "incompressible")
COUNT = 16  # prompts of a kind, as many as are shipped of the others
COPIED = 6  # shipped prompts that make up a passage
CHARACTERS = 160  # of an incompressible prompt


def made_prompts(kind: str) -> list[Prompt]:
    """Sixteen prompts, the same every time. copying: a passage twice and its beginning for the third time; how much is copied is
    up to the model. incompressible: characters by lot, to be gone on with at a high temperature. Raises DataError for others.
    """
    if kind not in MADE_KINDS:
        raise DataError(f"There is no made task {kind!r}.{did_you_mean(kind, MADE_KINDS)}")
    return [_copying(i) if kind == "copying" else _incompressible(i) for i in range(COUNT)]


def _copying(i: int) -> Prompt:
    """Passages of code, of prose and of sums in turns, put together from shipped prompts that follow each other."""
    shipped = builtin(("code", "prose", "math")[i % 3])
    parts = [shipped[(i + k) % len(shipped)] for k in range(COPIED)]
    lines = [part.text or part.turns[0] for part in parts]
    passage = "\n".join(lines)
    return Prompt("copying", text=f"{passage}\n\n{passage}\n\n{lines[0]}\n")


def _incompressible(i: int) -> Prompt:
    lots = random.Random(f"incompressible/{i}")
    return Prompt("incompressible", text="".join(lots.choices(string.ascii_letters + string.digits + " .,;", k=CHARACTERS)))
