"""Runs a suite of benchmarks and leaves a report of each, as JSON. Knows no target values and no page."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from paceline.bench.config import Config
from paceline.bench.curve import Curve, trace
from paceline.bench.quality import Quality, compare
from paceline.bench.rivals import at_hand
from paceline.bench.run import run
from paceline.bench.specs import SUITES
from paceline.bench.tasks import OF_DATA
from paceline.core.flags import words
from paceline.errors import RequestError, did_you_mean
from paceline.files import read_json, replace_json
from paceline.lm.load import resolve

__all__ = ["command", "read_reports", "run_suite"]

SIZES = {"limit", "max_new_tokens", "repeats"}
Say = Callable[[str], None]
Settings = Config | Curve | Quality
MEASURES: dict[type, tuple[str, Callable[[Any], dict[str, Any]]]] = {  # of each kind of settings its flag, and what measures
    Config: ("", run), Curve: (" --curve", trace), Quality: (" --quality", compare)}


def run_suite(name: str, only: tuple[str, ...], instead: Mapping[str, Any], folder: Path, say: Say) -> dict[str, Any]:
    """Run a suite (or `only` some of it) and write one JSON file each as it finishes; gives all reports of the folder. instead:
    settings for every benchmark that has them: the data folder, threads, or sizes, which only make it shorter.
    """
    if name not in SUITES:
        raise RequestError(f"There is no suite {name!r}.{did_you_mean(name, SUITES)}")
    for wanted in only:
        if wanted not in SUITES[name]:
            raise RequestError(f"The suite {name!r} has no benchmark {wanted!r}.{did_you_mean(wanted, SUITES[name])}")
    folder.mkdir(parents=True, exist_ok=True)
    for title, settings in SUITES[name].items():
        if not only or title in only:
            start, config = time.perf_counter(), settled(settings, instead)
            if config is None:
                say(f"{title}: left out, since its prompts are in none of the shipped sets; name a folder with --data.")
                continue
            replace_json(folder / f"{title}.json", measured(available(config, say)), indent=1)
            say(f"{title}: {time.perf_counter() - start:.0f} s")
    return read_reports(folder)


def settled(config: Settings, instead: Mapping[str, Any]) -> Settings | None:
    """With these settings where it has them; without a data folder, without the kinds of text that take one; None where none is
    left.
    """
    told = {f.name: instead[f.name] for f in fields(config) if f.name in instead}
    less = {name: min(told[name], getattr(config, name) or told[name]) for name in SIZES & told.keys()}
    config = replace(config, **told | less)
    if isinstance(config, Curve) or config.data is not None or not config.tasks:
        return config
    tasks = tuple(task for task in config.tasks if task not in OF_DATA)
    return replace(config, tasks=tasks) if tasks else None


def available(config: Settings, say: Say) -> Settings:
    """The same benchmark without the rivals that cannot run here."""
    return replace(config, against=at_hand(config.against, resolve(config.model), say)) if config.against else config


def measured(config: Settings) -> dict[str, Any]:
    """The report of one, as others may read it."""
    report = MEASURES[type(config)][1](config)
    if "data" in report["settings"]:
        report["settings"]["data"] = report["settings"]["data"] and "DIR"
    return report | {"command": command(config)}


def read_reports(folder: Path) -> dict[str, Any]:
    """Name -> report, for every JSON file in the folder."""
    return {path.stem: read_json(path) for path in sorted(folder.glob("*.json"))}


def command(config: Settings) -> str:
    """The command line that runs this benchmark; a data folder is named by whoever types it. The model always is, since which one
    is the default depends on what is installed.
    """
    named = [] if isinstance(config, Curve) and config.shape else [f"--model {config.model}"]
    if not isinstance(config, Curve):
        config = replace(config, data=config.data and "DIR")
    said = f"paceline bench{MEASURES[type(config)][0]}"
    return " ".join([said, *named, *words(replace(config, model=type(config).model))])
