"""Markov translation (arXiv 2402.02084): how many tokens a translator has to look back, on made-up languages and on real text.

Made-up languages whose endings follow earlier endings by a rule of known order: models that see k tokens, by transparent
attention, by a band mask alone, and by other ways; null level: chance. Then one translator of real texts for all orders beside
the usual one, BLEU by order and by length, where parallel files are named. At last what decoding keeps, by length.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from paceline.errors import RequestError
from paceline.recipes.reproduce._record import once, picture, write_record
from paceline.recipes.reproduce.markov._known import LINES, Size, learned
from paceline.recipes.reproduce.markov._memory import grown
from paceline.recipes.reproduce.markov._page import draw, written_up
from paceline.recipes.reproduce.markov._real import compared
from paceline.train.checkpoint import claim_folder
from paceline.train.precision import flush_denormals

__all__ = ["Config", "run"]

log = logging.getLogger("paceline")

TINY = Size(width=8, layers=1, rows=8, steps=2, learned=64, asked=16)
SMALL: dict[str, Any] = {"vocabulary": 300, "width": 16, "layers": 1, "rows": 8, "teacher_steps": 2}  # translators, fast


@dataclass(frozen=True)
class Config:
    """Options of the run."""

    src: str | None = None  # Sentences to train on, one a line (.gz too); none of the four leaves real text out.
    tgt: str | None = None  # Their translations.
    test_src: str | None = None  # Sentences to measure on.
    test_tgt: str | None = None  # Their translations.
    out: Path = Path("benchmarks/reproduce")  # Receives markov.json, .md and .png.
    work: Path = Path("markov")  # Keeps every part, so that a killed run goes on; translators in its real/ are used.
    seeds: int = 3  # Of the made-up languages.
    beam: int = 5  # Translations that are followed at once.
    fast: bool = False  # The smallest of everything, to see that all works.


def run(config: Config) -> Path:
    """Train what is missing, measure and write the record; returns the page's path."""
    if min(config.seeds, config.beam) < 1:
        raise RequestError(f"Expected seeds and a beam of at least 1, found {config.seeds} and {config.beam}.")
    flush_denormals()
    claim_folder(config.work, {"fast": config.fast})
    found = {"seeds": config.seeds, "known": known(config), "memory": memory(config), "real": on_text(config)}
    page = config.out / "markov.md"
    write_record(config.out, "markov", found, written_up(found))
    picture(page.with_suffix(".png"), partial(draw, found), 4 if found["real"] else 3)
    return page


def known(config: Config) -> dict[str, Any]:
    """Line -> order -> what each seed gave; every line once before any twice."""
    size = TINY if config.fast else Size()
    found: dict[str, dict[str, list[dict[str, float]]]] = {name: {} for name in LINES}
    for seed, (name, line) in product(range(config.seeds), LINES.items()):
        for orders in line.models[-1:] if config.fast else line.models:
            safe = "".join(char if char.isalnum() else "-" for char in f"{name} {' '.join(map(str, orders))} {seed}")
            for order, one in once(config.work / f"{safe}.json", partial(learned, line, orders, size, seed)).items():
                found[name].setdefault(order, []).append(one)
    return {name: {"enough": line.enough, "orders": found[name]} for name, line in LINES.items()}


def memory(config: Config) -> dict[str, Any]:
    return once(config.work / "memory.json", partial(grown, (4, 9), 1) if config.fast else grown)


def on_text(config: Config) -> dict[str, Any] | None:
    """None where no texts are named. Raises RequestError where some are."""
    files = {name: getattr(config, name) for name in ("src", "tgt", "test_src", "test_tgt")}
    if not any(files.values()):
        log.warning("Real text is left out: name parallel files with --src, --tgt, --test-src and --test-tgt.")
        return None
    if not all(files.values()):
        raise RequestError("Expected all of --src, --tgt, --test-src and --test-tgt, or none of them.")
    return compared(files | (SMALL if config.fast else {}), config.work / "real", config.beam)
