"""LightTransfer (Zhang et al. 2024, arXiv 2410.13846) at test time: some layers of the default model go on with few keys.

Five kinds of question about texts of 2,048 to 7,680 tokens, and the loss of the texts' ends: the lazy layers cut, against as many
by lot, from both ends, evenly spread, the least lazy, all of them, none. Then what the cut is for: bytes of keys beside the
formula, tokens a second of the largest batch that fits into a given memory, and the hybrid view as a draft that changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from paceline.bench.long_tasks import TEXTS, long_text
from paceline.bench.machine import describe
from paceline.errors import RequestError, did_you_mean
from paceline.lm import LM, load
from paceline.recipes.reproduce._record import once, picture, write_record
from paceline.recipes.reproduce.lighttransfer._arms import arms, told
from paceline.recipes.reproduce.lighttransfer._figures import settings
from paceline.recipes.reproduce.lighttransfer._page import draw, written_up
from paceline.recipes.reproduce.lighttransfer._speed import lossless, memory, throughput
from paceline.train.checkpoint import claim_folder

__all__ = ["Config", "run"]


class Length(NamedTuple):
    """recents: keys that cut layers keep beside the sinks. texts: of each sort in a set. every: which questions are asked."""

    recents: tuple[int, ...]
    texts: int
    every: int = 1


LENGTHS = {2048: Length((252, 1020), 2), 4096: Length((1020,), 1), 7680: Length((1020,), 1)}  # by tokens of a text
FAST = {1100: Length((60,), 1, every=2)}


@dataclass(frozen=True)
class Config:
    """Options of the run."""

    out: Path = Path("benchmarks/reproduce")  # Receives lighttransfer.json, .md and .png.
    work: Path = Path("lighttransfer")  # Keeps finished parts, so that a run that was killed goes on.
    model: str = "smol"  # Which model.
    seeds: int = 3  # Sets of texts, up to four.
    only: str = ""  # Do one part and write no page: tasks, memory, throughput, lossless or lossless_float.
    fast: bool = False  # A text of each sort, to see that all works.


def run(config: Config) -> Path:
    """Do all parts and write the record; returns the page's path, or that of the one part that was asked for."""
    if not 1 <= config.seeds <= 4:
        raise RequestError(f"Expected 1 to 4 seeds, found {config.seeds}.")
    if config.only not in ("", "tasks", *MEASURES):
        raise RequestError(f"There is no part {config.only!r}.{did_you_mean(config.only, ['tasks', *MEASURES])}")
    config = replace(config, seeds=1) if config.fast else config
    claim_folder(config.work, {"model": config.model, "fast": config.fast})
    lm = load(config.model)
    parts = {name: partial(once, config.work / f"{name}.json", partial(part, config, lm)) for name, part in MEASURES.items()}
    parts["tasks"] = partial(tasks, config, lm)
    if config.only:
        parts[config.only]()
        return config.work
    measured = {name: part() for name, part in parts.items()}
    found = measured | {"model": lm.describe(), "machine": describe(), "tasks": settings(measured["tasks"])}
    page = config.out / "lighttransfer.md"
    write_record(config.out, "lighttransfer", found, written_up(found))
    picture(page.with_suffix(".png"), partial(draw, found), 2)
    return page


def tasks(config: Config, lm: LM) -> dict[str, Any]:
    """Tokens -> what every arm did with each text. Sets come one after the other: a run that was killed has whole ones."""
    lengths = FAST if config.fast else LENGTHS
    found: dict[str, Any] = {str(tokens): [] for tokens in lengths}
    for seed in range(config.seeds):
        for tokens, length in lengths.items():
            for number in range(seed * length.texts, (seed + 1) * length.texts):
                for name in TEXTS:
                    make = partial(one, lm, name, tokens, number, length)
                    found[str(tokens)].append(once(config.work / f"{name}-{tokens}-{number}.json", make))
    return found


def one(lm: LM, name: str, tokens: int, number: int, length: Length) -> dict[str, Any]:
    """What every arm did with one text."""
    text = long_text(name, tokens, lm.tokenizer, number)
    return told(lm, replace(text, questions=text.questions[:: length.every]), arms(length.recents, tokens + number))


def lossless_float(config: Config, lm: LM) -> dict[str, Any]:
    """The same with float activations, whose keys are twice as many bytes; nothing where they are floats anyway."""
    return lossless(load(config.model, activations="float"), config.fast) if "activations" in lm.describe() else {}


MEASURES: dict[str, Callable[[Config, LM], dict[str, Any]]] = {
    "memory": lambda config, lm: memory(lm, config.fast), "throughput": lambda config, lm: throughput(lm, config.fast),
    "lossless": lambda config, lm: lossless(lm, config.fast), "lossless_float": lossless_float,
}  # fmt: skip
