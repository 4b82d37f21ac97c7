"""N-gram OaXE (arXiv 2210.03999) on a language whose freedom of order is known: whether phrases teach an order.

Translators of one pass learn, without cross-entropy before, a grammar whose two blocks stand in either order: by phrases of one
token, which is OaXE, of two, of three and of whole sentences, which is XE; by tiles, and by phrases that shrink on the way. Then
from weights trained by XE. Then a language whose determiners agree with their nouns, so that right words can stand in the wrong
phrase. Null level: the right words in any order.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from paceline.errors import RequestError
from paceline.recipes.reproduce._free_order import XE, Arm, Sizes, begun, compared
from paceline.recipes.reproduce._grammar import Grammar, null
from paceline.recipes.reproduce._record import picture, write_record
from paceline.recipes.reproduce.ngram_oaxe._page import draw, written_up

__all__ = ["Config", "run"]

FREE, AGREEING = Grammar(), Grammar(agree=True)
PHRASES = {"whole, XE": XE, "n = 1, OaXE": "oaxe", "n = 2": "ngram_oaxe:n=2", "n = 3": "ngram_oaxe:n=3"}


@dataclass(frozen=True)
class Config:
    """Options of the run."""

    out: Path = Path("benchmarks/reproduce")  # Receives ngram_oaxe.json, .md and .png.
    work: Path = Path("free_order")  # Keeps what was trained, also for reproduce/oaxe; a run that was killed goes on.
    seeds: int = 3
    fast: bool = False  # A tiny model and a few steps, to see that all works.


def run(config: Config) -> Path:
    """Train what is missing and write the record; returns the page's path."""
    if config.seeds < 1:
        raise RequestError(f"Expected at least 1 seed, found {config.seeds}.")
    sizes = begun(config.work, config.fast)
    runs = compared(config.work, {FREE: free(sizes), AGREEING: agreeing(sizes)}, sizes, config.seeds)
    found = {"seeds": config.seeds, "sizes": asdict(sizes), "free": runs[FREE], "agreeing": runs[AGREEING],
             "null": {"free": null(FREE, sizes.held), "agreeing": null(AGREEING, sizes.held)}}
    page = config.out / "ngram_oaxe.md"
    write_record(config.out, "ngram_oaxe", found, written_up(found))
    picture(page.with_suffix(".png"), partial(draw, found), 2)
    return page


def free(sizes: Sizes) -> dict[str, Arm]:
    """Without XE before, then with it."""
    start = Arm(XE, sizes.steps)
    made = {name: Arm(objective, sizes.steps) for name, objective in PHRASES.items()}
    made["n = 2, tiling"] = Arm("ngram_oaxe:n=2,variant=tiling", sizes.steps)
    made["n from whole to 2"] = Arm("ngram_oaxe:n=2", sizes.steps, fades="curriculum")
    after = {"n = 1, OaXE, after XE": "oaxe", "n = 2, after XE": "ngram_oaxe:n=2",
             "n = 2, margin 0.15, after XE": "ngram_oaxe:n=2,margin=0.15"}
    return made | {name: Arm(objective, sizes.tuning, start=start) for name, objective in after.items()}


def agreeing(sizes: Sizes) -> dict[str, Arm]:
    """Without XE before, and after a little."""
    start, phrases = Arm(XE, max(1, sizes.steps // 4)), {name: PHRASES[name] for name in ("n = 1, OaXE", "n = 2")}
    made = {name: Arm(objective, sizes.steps) for name, objective in phrases.items()}
    return made | {f"{name}, after XE": Arm(objective, sizes.steps // 2, start=start) for name, objective in phrases.items()}
