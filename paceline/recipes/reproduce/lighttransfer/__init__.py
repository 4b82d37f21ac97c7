"""LightTransfer (Zhang et al. 2024, arXiv 2410.13846) at test time: some layers of the default model go on with few keys.

Five kinds of question about texts of 2,048 to 8,000 tokens, and the loss of what follows them: the lazy layers cut, against as many
by lot, from both ends, evenly spread, the least lazy, all of them, none. Then what the cut is for: bytes of keys beside the
paper's formula, tokens a second of the largest batch that fits into a given memory, and the hybrid view as a draft that changes
nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from paceline.bench.long_prompts import long_prompts
from paceline.bench.long_tasks import TASK_KINDS, long_task
from paceline.bench.tasks import encode
from paceline.errors import RequestError, did_you_mean
from paceline.lm import LM, load
from paceline.recipes.reproduce._record import once, picture, write_record
from paceline.recipes.reproduce.lighttransfer._arms import BEHIND, answers, arms, losses
from paceline.recipes.reproduce.lighttransfer._page import draw, written_up
from paceline.recipes.reproduce.lighttransfer._speed import lossless, memory, throughput
from paceline.train.checkpoint import claim_folder

__all__ = ["Config", "run"]

RECENTS = {2048: (252, 1020), 4096: (1020,), 7680: (1020,)}  # by tokens of a text: keys that cut layers keep beside the sinks
TEXTS = {2048: 3, 4096: 2, 7680: 1}  # of a kind in a set
MARKS = {2048: (252, 1020), 4096: (1020,), 7936: (1020,)}  # the same of texts whose loss is taken
LOSS_KINDS = ("document", "completion")


@dataclass(frozen=True)
class Config:
    """Options of the run."""

    out: Path = Path("benchmarks/reproduce")  # Receives lighttransfer.json, .md and .png.
    work: Path = Path("lighttransfer")  # Keeps finished parts, so that a run that was killed goes on.
    model: str = "smol"  # Which model.
    seeds: int = 3  # Sets of texts, up to four.
    only: str = ""  # Do one part and write no page: tasks, loss, memory, throughput or lossless.
    fast: bool = False  # A short text of two kinds, to see that all works.


def run(config: Config) -> Path:
    """Do all parts and write the record; returns the page's path, or that of the one part that was asked for."""
    if not 1 <= config.seeds <= 4:
        raise RequestError(f"Expected 1 to 4 seeds, found {config.seeds}.")
    if config.only and config.only not in PARTS:
        raise RequestError(f"There is no part {config.only!r}.{did_you_mean(config.only, PARTS)}")
    config = replace(config, seeds=1) if config.fast else config
    claim_folder(config.work, {"model": config.model, "seeds": config.seeds, "fast": config.fast})
    lm = load(config.model)
    wanted = [config.only] if config.only else list(PARTS)
    found = {name: once(config.work / f"{name}.json", partial(PARTS[name], config, lm)) for name in wanted}
    if config.only:
        return config.work / f"{config.only}.json"
    page = config.out / "lighttransfer.md"
    write_record(config.out, "lighttransfer", found, written_up(found))
    picture(page.with_suffix(".png"), partial(draw, found), 2)
    return page


def tasks(config: Config, lm: LM) -> dict[str, Any]:
    """Tokens -> what every arm answered to each text."""
    recents, kinds = ({448: (60,)}, ("needle", "completion")) if config.fast else (RECENTS, TASK_KINDS)
    found: dict[str, Any] = {}
    for tokens, each in recents.items():
        texts = [(kind, seed * TEXTS.get(tokens, 1) + i) for seed in range(config.seeds) for i in range(TEXTS.get(tokens, 1))
                 for kind in kinds]
        found[str(tokens)] = [once(config.work / f"{kind}-{tokens}-{number}.json", partial(answered, lm, kind, tokens, number, each))
                              for kind, number in texts]
    return found


def answered(lm: LM, kind: str, tokens: int, number: int, recents: tuple[int, ...]) -> dict[str, Any]:
    task = long_task(kind, tokens, lm.tokenizer, number)
    return {"kind": kind, "number": number, **answers(lm, task, arms(recents, number))}


def loss(config: Config, lm: LM) -> dict[str, Any]:
    """Of each text, mark -> arm -> nats."""
    marks = {448: (60,)} if config.fast else MARKS
    found = []
    for number in range(config.seeds):
        selectors = {mark: arms(recents, number) for mark, recents in marks.items()}
        for kind in LOSS_KINDS:
            tokens = encode(lm.tokenizer, long_prompts(kind, max(marks) + BEHIND + 1)[2 * number])
            found.append(once(config.work / f"loss-{kind}-{number}.json", partial(losses, lm, tokens, selectors)))
    return {"texts": found}


PARTS: dict[str, Callable[[Config, LM], dict[str, Any]]] = {
    "tasks": tasks, "loss": loss, "memory": memory, "throughput": throughput, "lossless": lossless}  # fmt: skip
