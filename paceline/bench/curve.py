"""What a forward costs by how many tokens it takes and how many stand before them: ours and the rivals', in turns.

One token is a plain step, several are a verification, hundreds a prefill. What tokens mean costs nothing, so any model will do,
one of random weights too. Rivals join whose family (`rivals/`) has `steps(terms)`.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from operator import methodcaller
from typing import Any

import paceline
from paceline.bench.machine import describe, pin_threads, read_limit
from paceline.bench.requantise import check_format
from paceline.bench.rivals import Terms, check_names, showing
from paceline.bench.run import files
from paceline.bench.shapes import SHAPES, shaped
from paceline.bench.steps import Ours, Steps
from paceline.errors import RequestError, did_you_mean
from paceline.lm import LM
from paceline.lm.load import resolve

__all__ = ["ROWS", "Curve", "trace"]

ROWS = (1, 2, 4, 8, 16)
TURNS = (3, 25)  # fewest and most, as far as time allows
ENOUGH = 10.0  # seconds for one figure; one turn it gets in any case
MOST_READ = 2**30  # bytes of the buffer whose reading is timed: far beyond any cache


@dataclass(frozen=True)
class Curve:
    """What to measure. shape: a file of random weights instead of the model (`shapes.py`). behind: tokens before the forwards of
    `ROWS` tokens. prefill: lengths of prompts. against: families of rivals. Raises RequestError on bad values.
    """

    model: str = "zoo:tiny"
    shape: str | None = None
    requantise: str | None = None
    activations: str | None = None
    behind: tuple[int, ...] = (64, 500, 2000, 8000)
    prefill: tuple[int, ...] = (512, 2048)
    against: tuple[str, ...] = ()
    dtype: str | None = None
    forward: str = "auto"
    threads: int | None = None

    def __post_init__(self) -> None:
        check_names(self.against)
        check_format(self.requantise)
        if self.shape is not None and self.shape not in SHAPES:
            raise RequestError(f"There is no shape {self.shape!r}.{did_you_mean(self.shape, SHAPES)}")
        if min((*self.behind, *self.prefill), default=1) < 1:
            raise RequestError(f"Lengths are at least 1; found {min(*self.behind, *self.prefill)}.")


def trace(config: Curve, tick: Callable[[int], None] = lambda calls: None) -> dict[str, Any]:
    """Measure, and give the report; `tick(total)` is called after each figure. Lengths beyond the context are left out."""
    pin_threads(config.threads)
    with ExitStack() as held:
        model = str(held.enter_context(shaped(config.shape))) if config.shape else config.model
        place = held.enter_context(files(model, config.requantise))
        options: dict[str, Any] = {"activations": config.activations} if config.activations else {}
        lm = paceline.load(place, dtype=config.dtype, forward=config.forward, **options)
        lm.name = config.shape or config.model
        sides = _sides(config, place, lm)
        lengths = [length for length in sorted(config.behind) if length + max(ROWS) <= lm.context]
        prompts = [length for length in config.prefill if length <= lm.context]
        done = partial(tick, len(lengths) * len(ROWS) + len(prompts))
        steps = {str(length): _steps(sides, length, done) for length in lengths}
        reading = _reading(lm, steps)
        prefill = {str(length): _in_turns(sides, partial(_prefill, length=length), done) for length in prompts}
        return {"machine": describe(), "model": lm.describe(), "settings": asdict(config), "steps": steps, "prefill": prefill,
                "reading": reading, "what": {name: side.describe() for name, side in sides.items()}}  # fmt: skip


def _sides(config: Curve, place: str, lm: LM) -> dict[str, Steps]:
    return {"paceline": Ours(lm), **showing("steps", config.against, Terms(resolve(place), lm))}


def _steps(sides: Mapping[str, Steps], length: int, done: Callable[[], object]) -> dict[str, dict[str, float]]:
    for side in sides.values():
        side.fill(length)
    return {str(rows): _in_turns(sides, methodcaller("step", rows), done) for rows in ROWS}


def _prefill(side: Steps, length: int) -> float:
    side.fill(1)
    return side.fill(length)


def _in_turns(sides: Mapping[str, Steps], work: Callable[[Steps], float], done: Callable[[], object]) -> dict[str, float]:
    """Median seconds of each side; the first turn warms up and counts only where it took so long that there is no other."""
    took: dict[str, list[float]] = {name: [] for name in sides}
    begun = time.perf_counter()
    for turn in range(TURNS[1]):
        for name in list(sides)[:: -1 if turn % 2 else 1]:
            took[name].append(work(sides[name]))
        spent = time.perf_counter() - begun
        if spent > ENOUGH and (turn + 1 >= TURNS[0] or spent > ENOUGH * TURNS[0]):
            break
    done()
    return {name: statistics.median(seconds[1:] or seconds) for name, seconds in took.items()}


def _reading(lm: LM, steps: dict[str, dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Bytes of weights a second in plain steps behind the shortest text, and what the machine reads."""
    limit = read_limit(size=min(lm.weight_bytes, MOST_READ))
    if not steps:
        return {"weight_bytes": lm.weight_bytes, "limit": limit}
    rate = lm.weight_bytes / next(iter(steps.values()))["1"]["paceline"]
    return {"weight_bytes": lm.weight_bytes, "bytes_per_second": rate, "limit": limit, "share": rate / limit["bytes_per_second"]}
