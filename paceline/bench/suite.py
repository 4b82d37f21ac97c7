"""What stands behind `benchmarks/`: which benchmarks are run, in order, and the files they leave. Knows no target
values.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from paceline.bench.llama_cpp import installed
from paceline.bench.run import Config, run
from paceline.bench.tasks import KINDS, SPEC_BENCH
from paceline.engine.auto import AUTO, EMBEDDED, FREE, MERGED
from paceline.errors import DataError, RequestError, did_you_mean

__all__ = ["CAPE", "FOUR", "PAIR", "SUITES", "command", "read_reports", "run_suite"]

PAIR = "small_model:model=zoo:tiny-draft"
FOUR = f"{PAIR},length=4,worth=0"  # always four tokens, as assisted generation is measured
CAPE = "cape:inner=glide,bins=auto"
HEADS = ("glide", CAPE, "longspec")
ZOO = Config(drafters=(PAIR, FOUR, "ngram", *HEADS, MERGED), dtype="float32", limit=8, repeats=2)
GROWN = replace(ZOO, drafters=(PAIR, *HEADS, MERGED), grow=100.0, limit=6, repeats=2)
EVERY = (PAIR, "ngram", f"{PAIR},beam=4", "glide", "longspec", "cape:inner=glide,bins=paper", MERGED)
ARMS = replace(ZOO, drafters=(FREE, "ngram", *EMBEDDED, AUTO), tasks=(*KINDS, "copying"), cold=True, repeats=3)
NEVER_SLOWER = replace(ARMS, drafters=(AUTO,), tasks=SPEC_BENCH, limit=16, max_new_tokens=96)
IDENTITY = replace(ZOO, drafters=EVERY, repeats=1, limit=50)
SUITES: dict[str, dict[str, Config]] = {
    "cpu": {
        "zoo": replace(ZOO, against=("transformers",)),
        "zoo_stock": replace(ZOO, against=("transformers",), forward="stock", packed=False, limit=4, repeats=2,
                             drafters=(PAIR, "ngram")),
        "zoo_bf16": replace(ZOO, drafters=(PAIR, "ngram"), against=("transformers/plain",), dtype="bfloat16", inexact=True),
        "spec_bench": replace(ZOO, drafters=(PAIR, "ngram", *HEADS),
                              against=("transformers/plain",), tasks=("spec_bench",), limit=40, repeats=1),
        "grown": replace(GROWN, against=("transformers/plain", "llama_cpp")),
        "grown_bf16": replace(GROWN, dtype="bfloat16", exact=True, drafters=("glide",)),
        "grown_rows": replace(GROWN, rows=8, limit=8, repeats=2, drafters=(PAIR, "glide")),
        "auto": ARMS,
        "auto_grown": replace(ARMS, grow=100.0, limit=5, max_new_tokens=96),
        "auto_incompressible": replace(NEVER_SLOWER, tasks=("incompressible",), temperature=1.5),
        "auto_spec_bench": NEVER_SLOWER,
        "identity_fp32": IDENTITY,
        "identity_fp32_rows": replace(IDENTITY, rows=5),
        "identity_bf16": replace(IDENTITY, dtype="bfloat16", exact=True),
    },
    "gpu": {
        "gpu_fp32": replace(ZOO, against=("transformers",), device="cuda"),
        "gpu_bf16": replace(ZOO, against=("transformers",), dtype="bfloat16", device="cuda"),
        "gpu_grown_rows": replace(GROWN, rows=8, limit=8, dtype="bfloat16", device="cuda"),
    },
}


def run_suite(name: str, only: tuple[str, ...], data: str | None, folder: Path, say: Callable[[str], None]) -> None:
    """Run a suite (or `only` some of it), write one JSON file each as it finishes, then render the page from all files
    there.
    """
    from paceline.bench.page import render

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
            write(folder / f"{title}.json", json.dumps(report, indent=1) + "\n")
            say(f"{title}: {time.perf_counter() - start:.0f} s")
    write(folder / "README.md", render(read_reports(folder)))


def available(config: Config, say: Callable[[str], None]) -> Config:
    """The same benchmark without the optional rival where that is not installed."""
    if "llama_cpp" not in config.against or installed():
        return config
    say("llama.cpp is not installed, so it is left out.")
    return replace(config, against=tuple(name for name in config.against if name != "llama_cpp"))


def write(path: Path, text: str) -> None:
    """Replace a file whole: a run that dies leaves the old one."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise DataError(f"Cannot write {path}: {error.strerror or error}.") from error


def read_reports(folder: Path) -> dict[str, Any]:
    """Name -> report, for every JSON file in the folder."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def command(config: Config) -> str:
    """The command line that runs this benchmark: every setting that differs from the default."""
    words = ["paceline bench"]
    for field in fields(Config):
        value = getattr(config, field.name)
        if value == field.default:
            continue
        flag = {"drafters": "drafter", "tasks": "task"}.get(field.name, field.name).replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif field.name == "data":
            words.append("--data DIR")
        else:
            values = value if isinstance(value, tuple) else (value,)
            words += [f"--{flag} {v:g}" if isinstance(v, float) else f"--{flag} {v}" for v in values]
    return " ".join(words)
