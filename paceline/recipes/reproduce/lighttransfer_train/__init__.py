"""LightTransfer-Train (Zhang et al. 2024, arXiv 2410.13846, section 4) on a small model in which far and near keys matter.

The model is trained here on letters that near keys tell, needles, copies and long scratchpads of sums. *Test time*: half, a
quarter or three quarters of its layers keep all keys, chosen for each text by how lazy they are, or otherwise. *Train*: half of
them are cut for good, those that are most often lazy in questions with their answers, or those at both ends; a short training on
scratchpads follows, and beside it the same one of the whole model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from paceline.convert.hybrid import convert
from paceline.errors import RequestError
from paceline.lm import LM, load
from paceline.recipes import train_hybrid
from paceline.recipes.reproduce._record import once, picture, write_record
from paceline.recipes.reproduce.lighttransfer_train._arms import CUT, ablated, arms, chosen_by, pooled, ratios, uncut
from paceline.recipes.reproduce.lighttransfer_train._model import CONTEXT, SIZE, SMALL, TOKENS, base
from paceline.recipes.reproduce.lighttransfer_train._page import draw, written_up
from paceline.recipes.reproduce.lighttransfer_train._texts import KINDS, Text, spoken, stream, texts
from paceline.recipes.train_draft import load_target
from paceline.train.checkpoint import claim_folder
from paceline.train.precision import flush_denormals

__all__ = ["Config", "run"]

KEEPS, HALF = (0.75, 0.5, 0.25), 0.5
CHOICES = {"counted": replace(CUT, keep=HALF), "ends": replace(CUT, keep=HALF, by="ends")}
LEAST = {"steps": 2, "tuning": 1, "texts": 1, "seeds": 1, "models": 1}


@dataclass(frozen=True)
class Config:
    """Options of the run."""

    out: Path = Path("benchmarks/reproduce")  # Receives lighttransfer_train.json, .md and .png.
    work: Path = Path("work")  # Receives the models and what was measured on the way.
    steps: int = 1_200  # How long to train the model.
    tuning: int = 60  # How long to train its hybrids, a twentieth of that.
    rate: float = 1e-3  # The peak learning rate of these.
    texts: int = 24  # Of each kind and seed, to measure on.
    seeds: int = 3  # Of the texts to measure on and of the short training.
    models: int = 1  # Trained from different weights on different texts; seeds take turns at them.
    fast: bool = False  # A smaller model and few texts, in seconds, to see that all works.


def run(config: Config) -> Path:
    """Train, cut, tune, measure, and write the record; returns the page's path. What was killed goes on with the same command."""
    for name, least in LEAST.items():
        if getattr(config, name) < least:
            raise RequestError(f"Expected {name} to be at least {least}, found {getattr(config, name)}.")
    flush_denormals()
    config = replace(config, steps=4, tuning=1, texts=2, seeds=1) if config.fast else config
    settings = {name: str(getattr(config, name)) for name in ("fast", "steps", "tuning", "rate", "texts")}
    work = claim_folder(config.work / "lighttransfer_train", settings)
    sides = [side(config, work, seed) for seed in range(config.models)]
    found: dict[str, Any] = {"config": {name: getattr(config, name) for name in (*LEAST, "rate")}, "keeps": KEEPS,
                             "parameters": sides[0].lm.parameters, "context": CONTEXT, "layers": [one.layers for one in sides]}
    turns = [(seed, sides[seed % config.models]) for seed in range(config.seeds)]
    for name, measure in (("cut", cut), ("tuned", tuned)):
        found[name] = [once(one.work / f"{name}-{seed}.json", partial(measure, config, one, seed)) for seed, one in turns]
    page = config.out / "lighttransfer_train.md"
    write_record(config.out, "lighttransfer_train", found, written_up(found))
    picture(page.with_suffix(".png"), partial(draw, found), 3)
    return page


@dataclass(frozen=True)
class Side:
    """A model, what is known of its layers, and the folder of its figures."""

    lm: LM
    layers: dict[str, Any]
    work: Path


def side(config: Config, work: Path, seed: int) -> Side:
    place = work / f"model-{seed}"
    lm = load(str(base(place / "model", place / "steps", config.steps, seed, SMALL if config.fast else SIZE)))
    return Side(lm, once(place / "layers.json", partial(told_apart, config, lm)), place)


def measured_on(config: Config, seed: int) -> dict[str, Sequence[Text]]:
    """Texts of all kinds, none of which was trained on."""
    return {kind: texts(kind, config.texts, CONTEXT, 1000 + seed) for kind in KINDS}


def told_apart(config: Config, lm: LM) -> dict[str, Any]:
    """How lazy each layer is, what its cut alone costs, and the thresholds that keep as many layers as are kept otherwise."""
    some = measured_on(config, 999)
    found = ratios(lm, some)
    return {"lost": ablated(lm, some), "thresholds": [float(np.quantile(found["kept"], keep)) for keep in KEEPS],
            **{name: np.mean(each, 0).tolist() for name, each in found.items()}}


def cut(config: Config, one: Side, seed: int) -> dict[str, Any]:
    """What every arm knows of each kind of text."""
    harmless = np.argsort(one.layers["lost"]).tolist()

    def chosen(i: int) -> dict[str, Any]:
        each = {f"{arm} {keep}": choose for keep, threshold in zip(KEEPS, one.layers["thresholds"], strict=True)
                for arm, choose in arms(keep, threshold, harmless, 100 * seed + i).items()}
        return {"full": uncut, "streaming": chosen_by(keep=0.0), **each}

    return pooled(one.lm, measured_on(config, seed), chosen)


def tuned(config: Config, one: Side, seed: int) -> dict[str, Any]:
    """What the whole model and its hybrids know of the answers to short questions, before and after a short training."""
    folder, learned = one.work / f"tuned-{seed}", texts("sums", 10 * config.tuning, CONTEXT, 500 + seed)
    some = {"answers": texts("sums", 2 * config.texts, CONTEXT, 2000 + seed)}
    folder.mkdir(parents=True, exist_ok=True)
    stream(learned).save(folder / "texts.npz")
    job = train_hybrid.Config(folder / "texts.npz", tokens=config.tuning * TOKENS, rate=config.rate, rows=TOKENS // CONTEXT,
                              length=CONTEXT, seed=seed, half=False)

    def known(model: Any) -> dict[str, float]:
        return pooled(load(model), some, lambda i: {"": uncut})["answers"][""]

    whole, _ = train_hybrid.tuned(job, load_target(one.lm.name)[0], stream(learned), folder / "whole", False)
    found: dict[str, Any] = {"whole": {"before": known(one.lm), "after": known(whole)}}
    for name, selector in CHOICES.items():
        place = folder / name
        layers = convert(one.lm.name, place, selector, [spoken(text) for text in learned[: 4 * config.texts]], CONTEXT).cut
        after = train_hybrid.run(replace(job, model=str(place), out=folder / f"{name}-tuned"))
        found[name] = {"before": known(str(place)), "after": known(str(after)), "cut": layers}
    return found
