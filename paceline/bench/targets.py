"""What the benchmarks have to show, figure by figure: where each stands in the reports, and the least it may be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from paceline.bench import specs
from paceline.bench.best import BEST_EACH, BEST_OVERALL
from paceline.bench.summary import PLAIN
from paceline.bench.tasks import KINDS, SPEC_BENCH

__all__ = ["TARGETS", "Figure", "Target"]

PAIR, FOUR, NGRAM = f"paceline/{specs.PAIR}", f"paceline/{specs.FOUR}", "paceline/ngram"
CAPE, GLIDE = f"paceline/{specs.CAPE}", "paceline/glide"
AUTO, COLD = "paceline/auto", "paceline/auto, cold"
STOCK, LOOKUP = "transformers/plain", "transformers/prompt_lookup"
ASSISTED = ("transformers/assisted", "transformers/assisted_heuristic")
Reports = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """A measured value with its interval, where there is one."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Target:
    """One line of the table. `read(reports, quiet)` finds the figure; quiet = without looping outputs. `most`: a
    ceiling.
    """

    figure: str
    bound: float
    benchmark: str
    read: Callable[[Reports, bool], Figure]
    most: bool = False

    def met(self, figure: Figure) -> bool:
        return figure.value <= self.bound if self.most else figure.value >= self.bound


def _part(report: Any, method: str, quiet: bool) -> Any:
    figures = report["methods"][method]
    return figures["without_looping"] if quiet else figures


def _speed(benchmark: str, method: str, other: str) -> Callable[[Reports, bool], Figure]:
    return lambda reports, quiet: Figure(**_part(reports[benchmark], method, quiet)["speedup_vs"][other])


def _mean(benchmark: str, method: str, *others: str) -> Callable[[Reports, bool], Figure]:
    """Mean over the kinds of text; of several rivals the one that leaves us least."""

    def read(reports: Reports, quiet: bool) -> Figure:
        ratios = _part(reports[benchmark], method, quiet)["speedup_mean_over_tasks"]
        return min((Figure(**ratios[other]) for other in others), key=lambda figure: figure.value)

    return read


def _task(benchmark: str, method: str, *tasks: str) -> Callable[[Reports, bool], Figure]:
    """Against our plain decoding; the least over these kinds of text."""

    def read(reports: Reports, quiet: bool) -> Figure:
        by_task = reports[benchmark]["methods"][method]["by_task_without_looping" if quiet else "by_task"]
        return min((Figure(**by_task[task]["speedup"]) for task in tasks if task in by_task), key=lambda f: f.value)

    return read


def _low(benchmark: str, method: str, *tasks: str) -> Callable[[Reports, bool], Figure]:
    """As `_task`, but the least lower end of the intervals."""

    def read(reports: Reports, quiet: bool) -> Figure:
        by_task = reports[benchmark]["methods"][method]["by_task_without_looping" if quiet else "by_task"]
        lows = [by_task[task]["speedup"]["low"] for task in tasks if task in by_task]
        if None in lows:
            raise ValueError("A kind of text with one prompt has no interval.")
        return Figure(min(lows))

    return read


def _acceptance(reports: Reports, quiet: bool) -> Figure:
    """Acceptance length over that of assisted generation at the same, constant, draft length."""
    ours, theirs = (_part(reports["zoo"], name, quiet)["acceptance_length"] for name in (FOUR, ASSISTED[0]))
    return Figure(ours / theirs)


def _reading(reports: Reports, quiet: bool) -> Figure:
    return Figure(reports["grown"]["reading"]["share"])


def _outside(reports: Reports, quiet: bool) -> Figure:
    return Figure(_part(reports["grown"], PAIR, quiet)["outside_forwards"])


def _identical(benchmark: str, ties: bool) -> Callable[[Reports, bool], Figure]:
    """The least share over all methods; a tie counts as equal where asked, and is listed in the report all the same."""

    def read(reports: Reports, quiet: bool) -> Figure:
        report = reports[benchmark]
        return Figure(min(m["identical"] + ties * m["ties"] / report["prompts"] for m in report["methods"].values()))

    return read


TARGETS = [
    Target("plain decoding vs transformers `generate`, fp32, zoo", 1.8, "zoo", _speed("zoo", PLAIN, STOCK)),
    Target("the same, grown target", 2.0, "grown", _speed("grown", PLAIN, STOCK)),
    Target("plain decoding, grown target: weight bytes read per second vs the read limit", 0.75, "grown", _reading),
    Target("`small_model` vs our plain, mean over the kinds of text", 1.5, "zoo", _mean("zoo", PAIR, PLAIN)),
    Target("`small_model` vs assisted generation, its better schedule", 2.0, "zoo", _mean("zoo", PAIR, *ASSISTED)),
    Target("the same with stock forward and linears on our side", 1.3, "zoo_stock", _mean("zoo_stock", PAIR, *ASSISTED)),
    Target("acceptance length vs assisted generation's, same draft length", 0.98, "zoo", _acceptance),
    Target("`ngram` vs prompt lookup", 1.5, "zoo", _mean("zoo", NGRAM, LOOKUP)),
    Target("the same with stock forward and linears on our side", 1.1, "zoo_stock", _mean("zoo_stock", NGRAM, LOOKUP)),
    Target("`ngram` vs our plain, tools", 1.3, "zoo", _task("zoo", NGRAM, "tools")),
    Target("`ngram` vs our plain, the worst kind of text", 0.95, "zoo", _task("zoo", NGRAM, *KINDS)),
    Target("time outside forwards in a drafted round, one row, grown target", 0.05, "grown", _outside, most=True),
    Target("8 rows vs 1 row, drafted, grown target", 2.5, "grown_rows", _speed("grown_rows", PAIR, f"{PAIR}, one by one")),
    Target("GliDe + CaPE, `bins=auto`, vs our plain, mean over the kinds of text", 1.8, "zoo", _mean("zoo", CAPE, PLAIN)),
    Target("the same, grown target", 2.2, "grown", _mean("grown", CAPE, PLAIN)),
    Target("GliDe chains, grown target, bf16, exact mode", 2.2, "grown_bf16", _mean("grown_bf16", GLIDE, PLAIN)),
    Target("`auto` vs the best fixed drafter of each prompt, zoo", 0.95, "auto", _speed("auto", AUTO, BEST_EACH)),
    Target("the same, `auto` cold", 0.95, "auto", _speed("auto", COLD, BEST_EACH)),
    Target("the same, grown target", 0.95, "auto_grown", _speed("auto_grown", AUTO, BEST_EACH)),
    Target("the same, grown target, `auto` cold", 0.95, "auto_grown", _speed("auto_grown", COLD, BEST_EACH)),
    Target("`auto` vs the one fixed drafter that is best over the mix, zoo", 1.03, "auto", _speed("auto", AUTO, BEST_OVERALL)),
    Target("the same, grown target", 1.03, "auto_grown", _speed("auto_grown", AUTO, BEST_OVERALL)),
    Target("`auto` vs our plain, random prompts, temperature 1.5", 0.98, "auto_incompressible",
           _speed("auto_incompressible", AUTO, PLAIN)),
    Target("`auto` vs our plain, Spec-Bench", 0.98, "auto_spec_bench", _speed("auto_spec_bench", AUTO, PLAIN)),
    Target("the same, lower end of the interval, its worst group", 0.95, "auto_spec_bench",
           _low("auto_spec_bench", AUTO, *SPEC_BENCH)),
    Target("fp32 greedy, every drafter, 1 row: identical", 1.0, "identity_fp32", _identical("identity_fp32", True)),
    Target("the same, 5 rows", 1.0, "identity_fp32_rows", _identical("identity_fp32_rows", True)),
    Target("bf16 greedy, chains, exact: identical", 1.0, "identity_bf16", _identical("identity_bf16", False)),
    Target(
        "speed of exact mode vs without it, bf16, plain",
        1 / 1.08,
        "zoo_bf16",
        _speed("zoo_bf16", PLAIN, f"{PLAIN}, inexact"),
    ),
]
