"""OaXE (arXiv 2106.05093) against cross-entropy on a language whose freedom of order is known, and what its matching costs.

Translators of one pass learn a grammar whose two blocks stand in either order. All arms of a seed begin at the same weights,
trained by XE: more XE, OaXE, OaXE with the paper's margin; others begin without XE, or let it fade. Then the same where one
order is commoner, and as a control where there is only one. Null level: the right words in any order.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from paceline.errors import RequestError
from paceline.recipes.reproduce._free_order import XE, Arm, Sizes, begun, compared
from paceline.recipes.reproduce._grammar import Grammar, null
from paceline.recipes.reproduce._record import once, picture, write_record
from paceline.recipes.reproduce.oaxe._overhead import overhead
from paceline.recipes.reproduce.oaxe._page import draw, written_up

__all__ = ["Config", "run"]

SHARES = (0.5, 1.0, 0.8)  # of sentences whose translation begins with the subject


@dataclass(frozen=True)
class Config:
    """Options of the run."""

    out: Path = Path("benchmarks/reproduce")  # Receives oaxe.json, .md and .png.
    work: Path = Path("free_order")  # Keeps what was trained, also for reproduce/ngram_oaxe; a run that was killed goes on.
    seeds: int = 3
    fast: bool = False  # A tiny model and a few steps, to see that all works.


def run(config: Config) -> Path:
    """Train what is missing and write the record; returns the page's path."""
    if config.seeds < 1:
        raise RequestError(f"Expected at least 1 seed, found {config.seeds}.")
    sizes = begun(config.work, config.fast)
    asked = {Grammar(share): arms(sizes, share) for share in SHARES[: 2 if config.fast else None]}
    runs = compared(config.work, asked, sizes, config.seeds)
    found = {"seeds": config.seeds, "sizes": asdict(sizes), "runs": {grammar.subject_first: of for grammar, of in runs.items()},
             "null": {grammar.subject_first: null(grammar, sizes.held) for grammar in asked},
             "overhead": once(config.work / "overhead.json", partial(overhead, config.fast))}
    page = config.out / "oaxe.md"
    write_record(config.out, "oaxe", found, written_up(found))
    picture(page.with_suffix(".png"), partial(draw, found), 3)
    return page


def arms(sizes: Sizes, share: float) -> dict[str, Arm]:
    """By name; those without XE in front for the freest language alone."""
    start = Arm(XE, sizes.steps)
    after = {"XE, then more XE": XE, "OaXE": "oaxe", "OaXE, margin 0.15": "oaxe:margin=0.15"}
    made = {"XE": start, **{name: Arm(objective, sizes.tuning, start=start) for name, objective in after.items()}}
    alone = {"OaXE, no XE before": Arm("oaxe", sizes.steps), "OaXE, XE fades": Arm("oaxe", sizes.steps, fades="mix")}
    return made | (alone if share == SHARES[0] else {})
