"""Where attention sinks come from (arXiv 2410.10781): the default model's, and how they arise in small models trained here.

A model of two layers of eight heads reads Python's standard library byte by byte. Each setting changes one thing: the optimiser,
how much text, what stands first, who sees whom, an extra key or value, how scores become weights. Told for every setting: the
share of heads whose first key gets more than 0.3 of the attention (T = 64), its mean attention, the held-out loss; and how they
emerge along the steps. Null levels: the same before the first step, and even attention's.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from paceline.data.read import stdlib
from paceline.errors import RequestError
from paceline.lm.memory import keep_memory
from paceline.lm.places import smol_is_installed
from paceline.models.small_lm import Shape
from paceline.recipes.reproduce._record import once, picture, write_record
from paceline.recipes.reproduce.attention_sink._page import DRAWN, draw, written_up
from paceline.recipes.reproduce.attention_sink._real import real
from paceline.recipes.reproduce.attention_sink._runs import VOCABULARY, Setting, Sizes, read, trained
from paceline.train.checkpoint import claim_folder
from paceline.train.precision import flush_denormals

__all__ = ["Config", "SETTINGS", "run"]

# In the order in which they run. Rates, decays and amounts of text are this size's own.
SETTINGS = {
    "default": Setting(),
    "no start token": Setting(start=None),
    "rate / 10": Setting(lr=1e-3),
    "5,000 bytes of text": Setting(unique=5_000),
    "start token second": Setting(start=1),
    "random first": Setting(start=None, random=(0,)),
    "random first and second": Setting(start=None, random=(0, 1)),
    "prefix of 3": Setting({"prefix": 3}),
    "prefix of 3, no start token": Setting({"prefix": 3}, start=None),
    "key bias": Setting({"bias": "k"}),
    "key bias, no start token": Setting({"bias": "k"}, start=None),
    "sigmoid": Setting({"weights": "sigmoid"}),
    "sigmoid, normalised": Setting({"weights": "normalised_sigmoid"}),
    "rate x 2": Setting(lr=2e-2),
    "decay 0": Setting(decay=0.0),
    "decay 0.5": Setting(decay=0.5),
    "decay 5": Setting(decay=5.0),
    "window of 16": Setting({"window": 16}),
    "key and value bias": Setting({"bias": "kv"}),
    "value bias": Setting({"bias": "v"}),
    "elu + 1": Setting({"weights": "elu"}),
    "elu + 1, normalised": Setting({"weights": "normalised_elu"}),
    "bare product": Setting({"weights": "linear"}),
}
FAST = Sizes(Shape(VOCABULARY, width=32, layers=1, heads=2, ffn=64), steps=8, rows=2, held=4)


@dataclass(frozen=True)
class Config:
    """Options of the run."""

    out: Path = Path("benchmarks/reproduce")  # Receives attention_sink.json, .md and .png.
    work: Path = Path("attention_sink")  # Keeps the figures of finished runs, so that one that was killed goes on.
    model: str = "smol"  # Looked at beside the small ones, where it is there.
    prompts: Path | None = None  # Texts for it, as for the benchmark; none given = such as every Python carries.
    steps: int = 240  # Of a small model's run, 512 bytes each.
    seeds: int = 3
    fast: bool = False  # Tiny models, a few steps and few texts, to see that all works.


def run(config: Config) -> Path:
    """Do what is missing and write the record; returns the page's path."""
    if min(config.steps, config.seeds) < 1:
        raise RequestError(f"Expected steps and seeds of at least 1, found {config.steps} and {config.seeds}.")
    flush_denormals()
    keep_memory()
    claim_folder(config.work, {"steps": config.steps, "model": config.model, "prompts": str(config.prompts), "fast": config.fast})
    sizes = FAST if config.fast else replace(Sizes(), steps=config.steps)
    texts = read(stdlib(config.fast)), read(stdlib(True))  # the few held-out files do for a trial
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in SETTINGS}
    for seed in range(config.seeds):  # every setting once before any twice
        for name, setting in SETTINGS.items():
            path = config.work / f"{name.replace('/', 'by')}, {seed}.json"
            runs[name].append(once(path, partial(trained, setting, sizes, seed, texts)))
    found = {"steps": sizes.steps, "seeds": config.seeds, "model": config.model, "runs": runs, "real": {}}
    if config.model != "smol" or smol_is_installed():
        found["real"] = once(config.work / "model.json", partial(real, config.model, config.prompts, 2 if config.fast else 32))
    write_record(config.out, "attention_sink", found | {"runs": shortened(runs)}, written_up(found))
    page = config.out / "attention_sink.md"
    picture(page.with_suffix(".png"), partial(draw, runs), 2)
    return page


def shortened(runs: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """For the record: figures on the way only of the settings of which they are told."""
    told = {*DRAWN, "5,000 bytes of text"}
    return {name: {"setting": many[0]["setting"], "random": [run["random"] for run in many],
                   "history": [run["history"][0 if name in told else -1 :] for run in many]} for name, many in runs.items()}
