"""Translation in one pass on real texts: cross-entropy, OaXE (arXiv 2106.05093) and n-gram OaXE (arXiv 2210.03999) in turn.

Trains by `paceline train translate`, on the texts as they are and on what a teacher wrote of them, and measures each model beside
the teacher, which writes token by token: BLEU, chrF, phrases, repetitions, confidence, fluency and speed, and every difference by
paired bootstrap. Several directions and sizes, each with a name, share one record.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from paceline.data.parallel import Pairs
from paceline.errors import RequestError
from paceline.files import read_json
from paceline.models.translation.translator import Translator
from paceline.recipes import train_translate
from paceline.recipes.reproduce._record import once, picture, write_record
from paceline.recipes.reproduce.nat_translation._figures import TEACHER, figures
from paceline.recipes.reproduce.nat_translation._fluency import language_model
from paceline.recipes.reproduce.nat_translation._page import draw, written_up
from paceline.recipes.reproduce.nat_translation._speed import drafted, speed
from paceline.recipes.reproduce.nat_translation._toy import toy
from paceline.recipes.reproduce.nat_translation._written import written
from paceline.recipes.train_translate import Config as Training
from paceline.train.checkpoint import claim_folder
from paceline.train.precision import flush_denormals
from paceline.train.translation_metrics import check_scoring

__all__ = ["Config", "run"]

OBJECTIVES = {"oaxe": "oaxe:margin=0.15", "ngram_oaxe": "ngram_oaxe:n=2,margin=0.15"}
RAW, DISTILLED = "raw", "distilled"
STEPS = ("teacher_steps", "steps", "tuning_steps")
TINY: dict[str, Any] = {"vocabulary": 400, "width": 32, "layers": 1, "longest": 20, "rows": 16}


@dataclass(frozen=True)
class Config:
    """Options of the run."""

    src: str = "train.src"  # Sentences to learn from, as for `paceline train translate`.
    tgt: str | None = None  # Their translations, line by line.
    test_src: str | None = None  # Sentences to measure on; else 2 % of the pairs are kept apart.
    test_tgt: str | None = None  # Their translations.
    pairs: int | None = None  # Learn from so many pairs, the first ones; None = all.
    name: str = "translation"  # Of this direction and size in the record, such as en-de.
    data: Literal["both", "raw", "distilled"] = "both"  # Learn from the texts as they are, or from what a teacher wrote of them.
    teacher_steps: int = Training.teacher_steps  # Of the model that writes token by token.
    steps: int = Training.steps  # Of the one-pass model by cross-entropy.
    tuning_steps: int = Training.tuning_steps  # Of each objective after that.
    seed: int = Training.seed  # Of weights, batches and masks; another one wants another name.
    fluency_steps: int = 400  # Of the language model that tells how fluent translations are.
    repeats: int = 5  # Of every timing, which wants a quiet machine; 0 leaves the speed out.
    out: Path = Path("benchmarks/reproduce")  # Receives nat_translation.json, .md and .png.
    work: Path = Path("nat_translation")  # Keeps models and what they wrote in a folder NAME, so that a killed run goes on.
    fast: bool = False  # Made-up texts and a few steps, to see that all works.


def run(config: Config) -> Path:
    """Train what is missing, measure, and add to the record; returns the page's path. Raises DataError as training does, and
    ModelError where sacrebleu is missing.
    """
    check_scoring()
    if config.name != Path(config.name).name or not config.name:
        raise RequestError(f"Expected a name that can be a folder's, found {config.name!r}.")
    if config.fluency_steps < 1 or config.repeats < 0:
        raise RequestError(f"Expected at least 1 fluency step and 0 repeats, found {config.fluency_steps} and {config.repeats}.")
    flush_denormals()
    place = config.work / config.name
    job = training(config, place)
    learned, test = train_translate.texts(job)
    everything = "\n".join(side for part in (learned, test) for side in part.source + part.target)
    options = {name: getattr(config, name) for name in (*STEPS, "seed", "fluency_steps")}
    claim_folder(place, {"texts": zlib.crc32(everything.encode()), **options})
    folders = trained(job, place, (RAW, DISTILLED) if config.data == "both" else (config.data,))
    found = {"pairs": len(learned), "texts": len(test), **options}
    return recorded(config, found | measured(config, place, folders, (learned, test)))


def training(config: Config, place: Path) -> Training:
    """What all trainings have in common."""
    names = ("src", "tgt", "test_src", "test_tgt", "pairs", "seed", *STEPS)
    options = {name: getattr(config, name) for name in names}
    if config.fast:
        options |= toy(place, {"": 40, "test_": 4}) | TINY
    return Training(**options, out=place)


def trained(job: Training, place: Path, kinds: Sequence[str]) -> dict[str, Path]:
    """Model -> its folder. All go on from one teacher, its translations and cross-entropy in `models.work`; what an objective
    gave is kept as `<kind>-<objective>`.
    """
    found = {TEACHER: place / f"{kinds[0]}-oaxe" / TEACHER}
    for kind in kinds:
        found[f"{kind} xe"] = place / f"{kind}-oaxe" / "xe"
        for name, objective in OBJECTIVES.items():
            folder = place / f"{kind}-{name}"
            if not folder.exists():
                train_translate.run(replace(job, objective=objective, raw=kind == RAW, out=place / "models")).rename(folder)
            found[f"{kind} {name}"] = folder
    return found


def measured(config: Config, place: Path, folders: dict[str, Path], texts: tuple[Pairs, Pairs]) -> dict[str, Any]:
    """Figures of quality, and of speed."""
    learned, test = texts
    held = {name: Translator.load(folder) for name, folder in folders.items()}
    wrote = {name: written(one, held[TEACHER], test, place / "written" / name) for name, one in held.items()}
    *_, last = held.values()
    lm = language_model(last, learned, place / "fluency", config.fluency_steps)
    found = figures(wrote, test, lm) | {"speed": None, "drafted": None}
    if config.repeats:
        drafters = list(held)[-3:][: 1 if config.fast else None]  # of the last kind of data
        teacher, nats = held[TEACHER], {name: held[name] for name in drafters}
        found["speed"] = once(place / "speed.json", partial(speed, teacher, last, test.source, config.repeats))
        found["drafted"] = once(place / "drafted.json", partial(drafted, teacher, nats, test.source, config.repeats))
    return found


def recorded(config: Config, found: dict[str, Any]) -> Path:
    """The record with this direction's figures in place of its old ones."""
    page = config.out / "nat_translation.md"
    before = page.with_suffix(".json")
    record = {**(read_json(before) if before.exists() else {}), config.name: found}
    write_record(config.out, "nat_translation", record, written_up(record))
    picture(page.with_suffix(".png"), partial(draw, record), 3)
    return page
