"""EXAM (arXiv 1811.09386) against the same encoder pooled, on AG News and Debian's tags, and on texts that one keyword decides.

Arms share encoder, texts, seeds and a choice of rate by held-out texts: EXAM by the paper and as released, its baseline (maximum
over words, then a linear layer), fastText's form (the average), bigram TF-IDF with a linear model of scikit-learn; null level:
the commonest labels. Then single points where paper and code differ, and aggregators that know no places.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from paceline.data.debian import debian
from paceline.data.labelled import Labelled, read_labelled, split
from paceline.errors import DataError, RequestError
from paceline.models.exam.config import AS_CODE
from paceline.recipes.reproduce._record import once, picture, write_record
from paceline.recipes.reproduce.exam._keywords import PLACES, TASKS, keywords
from paceline.recipes.reproduce.exam._page import draw, written_up
from paceline.recipes.reproduce.exam._runs import Trained, popular, tfidf, trained
from paceline.train.checkpoint import claim_folder
from paceline.train.precision import flush_denormals

__all__ = ["Config", "run"]

EXAM, CODE, POOLED, MEAN = "EXAM", "EXAM, as its code", "max-pool", "mean (fastText)"
TFIDF, NULL = "bigram TF-IDF", "commonest labels"
ARMS: dict[str, dict[str, Any]] = {
    EXAM: {"aggregator": "mlp"},
    CODE: {"aggregator": "mlp", **AS_CODE},
    POOLED: {"aggregator": "max_pool", "class_bias": True},
    MEAN: {"aggregator": "mean", "class_bias": True},
}  # fmt: skip
ABLATIONS: dict[str, dict[str, Any]] = {
    "residual": {"residual": True}, "class bias, masked": {"class_bias": True},
    "m = n / 2": {"hidden": 32}, "n = 32": {"length": 32}, "last words kept": {"keep": "last", "length": 32},
    "alone, s = 0": {"radius": 0}, "GRU": {"encoder": "gru"}, "batch 256": {"rows": 256},
    **{name: {"aggregator": name, "class_bias": True} for name in ("sum", "max", "logsumexp", "top", "attention")},
}  # fmt: skip
RATES = (1e-3, 3e-3, 1e-2)
NEWS, TAGS = "AG News", "Debian's tags"
FEW_SEEDS = 3  # of the keywords
RATE_SEEDS = 2  # that a rate is chosen by; one alone once chose a rate at which another seed learned nothing


@dataclass(frozen=True)
class Config:
    """Options of the run."""

    news: Path | None = None  # A folder with train.csv and test.csv in AG News' layout; None leaves it out.
    tags: str | None = "debian:tags"  # Debian's index, or debian:tags@FILE; none leaves it out.
    out: Path = Path("benchmarks/reproduce")  # Receives exam.json, .md and .png.
    work: Path = Path("exam")  # Keeps what every arm did, so that a run that was killed goes on.
    seeds: int = 5  # Of every arm.
    change_seeds: int = 3  # Of the points where paper and code differ, on the news; 0 leaves them out.
    epochs: int = 12  # At most.
    fast: bool = False  # The smallest of everything, on made-up texts, to see that all works.


@dataclass(frozen=True)
class Task:
    """Texts with their way of training; parts: to learn from, to choose by, to measure on."""

    parts: tuple[Labelled, Labelled, Labelled]
    settings: dict[str, Any] = field(default_factory=dict)
    rows: int = 16


def run(config: Config) -> Path:
    """Train, measure and write the record; returns the page's path. Raises DataError where there are no texts."""
    if config.seeds < 1 or config.epochs < 1 or config.change_seeds < 0:
        raise RequestError("Expected seeds and epochs of at least 1 and change_seeds of at least 0, found "
                           f"{config.seeds}, {config.epochs} and {config.change_seeds}.")
    flush_denormals()
    claim_folder(config.work, {"epochs": config.epochs, "fast": config.fast})
    found: dict[str, Any] = {"seeds": config.seeds, "keywords": by_keyword(config), "tasks": {}, "ablations": {}}
    given = tasks(config)
    for name, task in given.items():
        found["tasks"][name] = compared(config, name, task)
    if NEWS in given and config.change_seeds:
        found["ablations"] = ablated(config, NEWS, given[NEWS], found["tasks"][NEWS]["rates"][EXAM])
    page = config.out / "exam.md"
    write_record(config.out, "exam", {**found, "tasks": {name: short(task) for name, task in found["tasks"].items()}},
                 written_up(found, EXAM))
    picture(page.with_suffix(".png"), partial(draw, found, EXAM), 2)
    return page


def tasks(config: Config) -> dict[str, Task]:
    """The texts at hand; in the fast form made-up ones."""
    if config.fast:
        made = keywords(TASKS[0], 8, 120, 0)
        some = (made.only(range(60)), made.only(range(60, 90)), made.only(range(90, 120)))
        several = tuple(Labelled(part.texts, part.labels, True) for part in some)
        return {NEWS: Task(some, {"width": 8, "length": 64}), TAGS: Task(several, {"width": 8, "length": 16})}  # type: ignore[arg-type]
    found = {}
    if config.news is not None:
        learned, held = split(read_labelled(config.news / "train.csv"), 10)
        found[NEWS] = Task((learned, held, read_labelled(config.news / "test.csv")), {"width": 64, "length": 64})
    if config.tags not in (None, "none"):
        rest, test = split(debian(config.tags), 20, "test ")
        found[TAGS] = Task((*split(rest, 10), test), {"width": 64, "length": 16, "hidden": 60}, rows=64)
    if not found:
        raise DataError("There are no texts: name a folder with --news, or a package index with --tags.")
    return found


def by_keyword(config: Config) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Made-up texts: task -> arm -> words in a text -> accuracy by seed."""
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    arms = ARMS | {"logsumexp": ABLATIONS["logsumexp"]}
    for task in TASKS:
        for name, settings in arms.items():
            for n in PLACES[:1] if config.fast else PLACES:
                size = 60 if config.fast else 1000
                parts = [keywords(task, n, count, seed) for seed, count in enumerate((size, size // 4, size // 4))]
                ours = Trained({"width": 16, "radius": 0, "length": n, **settings}, config.epochs, 16, 1e-2)
                runs = [kept(config, f"keywords {task} {name} {n} {seed}", partial(trained, parts, ours, seed))
                        for seed in range(1 if config.fast else FEW_SEEDS)]
                found.setdefault(task, {}).setdefault(name, {})[str(n)] = [run["figures"]["accuracy"] for run in runs]
    return found


def compared(config: Config, name: str, task: Task) -> dict[str, Any]:
    """Arm -> its runs, at the rate that did best on held-out texts with the first seeds, and the linear model's."""
    rates, runs = dict[str, float](), dict[str, list[dict[str, Any]]]()
    first = range(min(RATE_SEEDS, config.seeds))
    for arm, settings in ARMS.items():
        best = {rate: sum(max(one(config, name, task, (arm, settings, rate, seed))["checks"].values()) for seed in first)
                for rate in (RATES[1:2] if config.fast else RATES)}
        rates[arm] = max(best, key=lambda rate: best[rate])  # noqa: B023
        runs[arm] = [one(config, name, task, (arm, settings, rates[arm], seed)) for seed in range(config.seeds)]
    runs[TFIDF] = [kept(config, f"{name} {TFIDF}", partial(tfidf, task.parts))]
    runs[NULL] = [popular(task.parts)]
    counts = {"texts": [len(part.texts) for part in task.parts], "labels": len(task.parts[0].names), "multi": task.parts[0].multi}
    return {"rates": rates, "runs": runs, **counts}


def ablated(config: Config, name: str, task: Task, rate: float) -> dict[str, list[dict[str, Any]]]:
    """Change of EXAM -> its runs, at EXAM's own rate."""
    chosen = dict(list(ABLATIONS.items())[:1]) if config.fast else ABLATIONS
    seeds = range(1 if config.fast else config.change_seeds)
    return {change: [one(config, name, task, (change, settings, rate, seed)) for seed in seeds]
            for change, settings in chosen.items()}


def one(config: Config, name: str, task: Task, asked: tuple[str, dict[str, Any], float, int]) -> dict[str, Any]:
    """One training run of (arm, its settings, rate, seed)."""
    arm, settings, rate, seed = asked
    chosen = task.settings | {key: value for key, value in settings.items() if key != "rows"}
    ours = Trained(chosen, config.epochs, settings.get("rows", task.rows), rate)
    return kept(config, f"{name} {arm} {rate:g} {seed}", partial(trained, task.parts, ours, seed))


def kept(config: Config, name: str, make: Any) -> dict[str, Any]:
    """What was found before under this name, or is found now."""
    safe = "".join(c if c.isalnum() or c in ".-" else "_" for c in name)
    return once(config.work / f"{safe}.json", make)


def short(task: dict[str, Any]) -> dict[str, Any]:
    """A task's record without the figures of single texts."""
    runs = {arm: [{key: run[key] for key in run if key != "each"} for run in runs] for arm, runs in task["runs"].items()}
    return task | {"runs": runs}
