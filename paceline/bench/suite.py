"""Runs a suite of benchmarks and leaves a report of each, as JSON. Knows no target values and no page."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from paceline.bench.llama_cpp import installed
from paceline.bench.run import Config, run
from paceline.bench.specs import SUITES
from paceline.bench.tasks import SPEC_BENCH
from paceline.core.flags import words
from paceline.errors import RequestError, did_you_mean
from paceline.files import read_json, replace_json

__all__ = ["command", "read_reports", "run_suite"]



def run_suite(
    name: str, only: tuple[str, ...], data: str | None, folder: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """Run a suite (or `only` some of it) and write one JSON file each as it finishes; gives all reports of the folder."""
    if name not in SUITES:
        raise RequestError(f"There is no suite {name!r}.{did_you_mean(name, SUITES)}")
    for wanted in only:
        if wanted not in SUITES[name]:
            raise RequestError(f"The suite {name!r} has no benchmark {wanted!r}.{did_you_mean(wanted, SUITES[name])}")
    folder.mkdir(parents=True, exist_ok=True)
    for title, config in SUITES[name].items():
        if not only or title in only:
            if data is None and not {"spec_bench", *SPEC_BENCH}.isdisjoint(config.tasks):
                say(f"{title}: left out, since its prompts are in none of the shipped sets; name a folder with --data.")
                continue
            start, config = time.perf_counter(), replace(available(config, say), data=data)
            report = run(config) | {"command": command(config)}
            report["settings"]["data"] = data and "DIR"  # a report is for others
            replace_json(folder / f"{title}.json", report, indent=1)
            say(f"{title}: {time.perf_counter() - start:.0f} s")
    return read_reports(folder)


def available(config: Config, say: Callable[[str], None]) -> Config:
    """The same benchmark without the optional rival where that is not installed."""
    if "llama_cpp" not in config.against or installed():
        return config
    say("llama.cpp is not installed, so it is left out.")
    return replace(config, against=tuple(name for name in config.against if name != "llama_cpp"))


def read_reports(folder: Path) -> dict[str, Any]:
    """Name -> report, for every JSON file in the folder."""
    return {path.stem: read_json(path) for path in sorted(folder.glob("*.json"))}


def command(config: Config) -> str:
    """The command line that runs this benchmark; a data folder is named by whoever types it."""
    return " ".join(["paceline bench", *words(replace(config, data=config.data and "DIR"))])
