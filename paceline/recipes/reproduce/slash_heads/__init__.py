"""Where slash heads come from (arXiv 2601.08297): the default model's, and how they arise in small models trained here.

On the default model: how many heads look back by a fixed distance, and each of the paper's claims of them. Then three trainings.
A toy with the theory's two conditions, queries and keys that are nearly one vector each and rotary pairs that turn within the
text, and without each. Small models on text, with rank-one, free or centred queries and keys and with some rotary pairs only.
Small models that copy the token 8, 32 or 128 before, where nothing but the distance tells which. Null levels: uniform
attention, random vectors, the heads before the first step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from paceline.errors import RequestError
from paceline.lm.memory import keep_memory
from paceline.lm.places import SMOL, smol_is_installed
from paceline.models.small_lm import Shape
from paceline.recipes.reproduce._record import once, picture, write_record
from paceline.recipes.reproduce.slash_heads._page import draw, written_up
from paceline.recipes.reproduce.slash_heads._real import real
from paceline.recipes.reproduce.slash_heads._toy import Toy, learned
from paceline.recipes.reproduce.slash_heads._trained import Setting, Sizes, corpora, trained
from paceline.train.checkpoint import claim_folder
from paceline.train.precision import flush_denormals

__all__ = ["Config", "run"]

EVER = float("inf")
CONTENTS = ("free", "fixed", "centred")
DISTANCES = (8, 32, 128)
TEXT = Sizes()
COPYING = replace(TEXT, shape=replace(TEXT.shape, vocabulary=64), steps=200, length=192)
TINY = Sizes(Shape(vocabulary=256, width=16, layers=1, heads=2, ffn=16), 4, 2, 48)
Arms = dict[str, Callable[..., dict[str, Any]]]


@dataclass(frozen=True)
class Config:
    """Options of the run."""

    out: Path = Path("benchmarks/reproduce")  # Receives slash_heads.json, .md and .png.
    work: Path = Path("slash_heads")  # Keeps what every part found, so that a run that was killed goes on.
    prompts: Path | None = None  # Texts for the default model, as for `paceline probe`; None = documents and code.
    texts: int = 16  # Of them, 512 tokens each.
    seeds: int = 3
    fast: bool = False  # Tiny models, a few steps and the embedded model in place of the default one, to see that all works.


def run(config: Config) -> Path:
    """Look, train what is missing and write the record; returns the page's path."""
    if min(config.texts, config.seeds) < 1:
        raise RequestError(f"Expected texts and seeds of at least 1, found {config.texts} and {config.seeds}.")
    flush_denormals()
    keep_memory()
    claim_folder(config.work, {"texts": config.texts, "fast": config.fast, "prompts": str(config.prompts)})
    found = {"seeds": config.seeds, "real": looked_at(config)} | learned_by(config)
    page = config.out / "slash_heads.md"
    write_record(config.out, "slash_heads", found, written_up(found))
    picture(page.with_suffix(".png"), partial(draw, found), 3)
    return page


def looked_at(config: Config) -> dict[str, Any] | None:
    """None where the default model is not installed."""
    if not (config.fast or smol_is_installed()):
        return None
    name, length = ("zoo:tiny", 64) if config.fast else (SMOL, 512)
    prompts = None if config.prompts is None else str(config.prompts)
    return once(config.work / "real.json", partial(real, name, prompts, config.texts, length))


def learned_by(config: Config) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Kind of training, arm -> what each seed gave; every arm once before any twice."""
    kinds = {"toys": toys(config.fast), "text": on_text(config.fast), "copying": copying(config.fast)}
    found: dict[str, dict[str, list[dict[str, Any]]]] = {kind: {arm: [] for arm in arms} for kind, arms in kinds.items()}
    for seed, (kind, arms) in product(range(config.seeds), kinds.items()):
        for arm, work in arms.items():
            path = config.work / f"{kind}-{arm.replace(',', '').replace(' ', '_')}-{seed}.json"
            found[kind][arm].append(once(path, partial(work, seed=seed)))
    return found


def toys(fast: bool) -> Arms:
    """Both conditions at many distances, and without either."""
    if fast:
        return {"both, 8": partial(learned, Toy(8), 40)}
    made = {f"both, {lag}": Toy(lag) for lag in (0, 1, 2, 4, 8, 16, 32)}
    changes: dict[str, dict[str, Any]] = {"wide cone": {"cone": 0.5}, "no cone": {"cone": 0.0},
                                          "slow pairs only": {"wavelengths": (64, EVER)},
                                          "no slow pairs": {"wavelengths": (0, 64)}}  # fmt: skip
    made |= {f"{name}, {lag}": Toy(lag, **change) for name, change in changes.items() for lag in (1, 8, 32)}
    return {name: partial(learned, toy, 150) for name, toy in made.items()}


def on_text(fast: bool) -> Arms:
    """What queries and keys may be, and which pairs turn."""
    slow = (TEXT.length, EVER)
    shapes: dict[str, dict[str, Any]] = {"free": {}} if fast else {
        "free": {}, "fixed": {"content": "fixed"}, "centred": {"content": "centred"},
        "free, slow pairs only": {"wavelengths": slow}, "fixed, slow pairs only": {"content": "fixed", "wavelengths": slow},
        "free, no slow pairs": {"wavelengths": (0, TEXT.length)}, "free, fast pairs only": {"wavelengths": (0, 16)},
        "free, no rotation": {"wavelengths": (0, 0)}, "free, base 100": {"base": 1e2}, "free, base 1,000,000": {"base": 1e6},
    }  # fmt: skip
    work = partial(trained, corpora(copying=False, few=fast), TINY if fast else TEXT)
    return {name: partial(work, Setting(shape)) for name, shape in shapes.items()}


def copying(fast: bool) -> Arms:
    """From each distance with each kind of queries and keys; from one with some pairs only."""
    work = partial(trained, corpora(copying=True), TINY if fast else COPYING)
    if fast:
        return {"free, 8": partial(work, Setting(copy=8))}
    made = {f"{content}, {lag}": Setting({"content": content}, lag) for lag in DISTANCES for content in CONTENTS}
    for name, waves in (("slow pairs only", (COPYING.length, EVER)), ("no slow pairs", (0, COPYING.length)),
                        ("fast pairs only", (0, 16))):
        made[f"free, {name}, 32"] = Setting({"wavelengths": waves}, 32)
    return {name: partial(work, setting) for name, setting in made.items()}
