"""A figure that benchmarks have to show: where it stands in the reports, and the least it may be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Figure", "Reports", "Target", "answers", "divergence", "identical", "low", "mean", "over_one", "part", "perplexity",
           "prefill", "share_read", "speed", "step", "task"]  # fmt: skip

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


def part(report: Any, method: str, quiet: bool) -> Any:
    figures = report["methods"][method]
    return figures["without_looping"] if quiet else figures


def speed(benchmark: str, method: str, other: str) -> Callable[[Reports, bool], Figure]:
    return lambda reports, quiet: Figure(**part(reports[benchmark], method, quiet)["speedup_vs"][other])


def mean(benchmark: str, method: str, *others: str) -> Callable[[Reports, bool], Figure]:
    """Mean over the kinds of text; of several rivals the one that leaves us least."""

    def read(reports: Reports, quiet: bool) -> Figure:
        ratios = part(reports[benchmark], method, quiet)["speedup_mean_over_tasks"]
        return min((Figure(**ratios[other]) for other in others), key=lambda figure: figure.value)

    return read


def task(benchmark: str, method: str, *tasks: str) -> Callable[[Reports, bool], Figure]:
    """Against our plain decoding; the least over these kinds of text."""

    def read(reports: Reports, quiet: bool) -> Figure:
        by_task = reports[benchmark]["methods"][method]["by_task_without_looping" if quiet else "by_task"]
        return min((Figure(**by_task[task]["speedup"]) for task in tasks if task in by_task), key=lambda f: f.value)

    return read


def low(benchmark: str, method: str, *tasks: str) -> Callable[[Reports, bool], Figure]:
    """As `task`, but the least lower end of the intervals."""

    def read(reports: Reports, quiet: bool) -> Figure:
        by_task = reports[benchmark]["methods"][method]["by_task_without_looping" if quiet else "by_task"]
        lows = [by_task[task]["speedup"]["low"] for task in tasks if task in by_task]
        if None in lows:
            raise ValueError("A kind of text with one prompt has no interval.")
        return Figure(min(lows))

    return read


def identical(benchmark: str, ties: bool, begins: str = "") -> Callable[[Reports, bool], Figure]:
    """The least share over the methods whose names begin so; a tie counts as equal where asked, and is listed in the report all
    the same.
    """

    def read(reports: Reports, quiet: bool) -> Figure:
        report = reports[benchmark]
        asked = [method for name, method in report["methods"].items() if name.startswith(begins)]
        return Figure(min(m["identical"] + ties * m["ties"] / report["prompts"] for m in asked))

    return read


def step(benchmark: str, rival: str, *lengths: int) -> Callable[[Reports, bool], Figure]:
    """How much faster our step of one token is, behind so many; the least of these lengths."""

    def read(reports: Reports, quiet: bool) -> Figure:
        ones = [reports[benchmark]["steps"][str(length)]["1"] for length in lengths]
        return Figure(min(one[rival] / one["paceline"] for one in ones))

    return read


def over_one(benchmark: str, tokens: int) -> Callable[[Reports, bool], Figure]:
    """What our forward of so many tokens costs over that of one, behind the shortest text."""

    def read(reports: Reports, quiet: bool) -> Figure:
        sizes = next(iter(reports[benchmark]["steps"].values()))
        return Figure(sizes[str(tokens)]["paceline"] / sizes["1"]["paceline"])

    return read


def prefill(benchmark: str, rival: str) -> Callable[[Reports, bool], Figure]:
    """How much faster we read a prompt; the least of the lengths measured."""
    return lambda reports, quiet: Figure(min(one[rival] / one["paceline"] for one in reports[benchmark]["prefill"].values()))


def share_read(benchmark: str) -> Callable[[Reports, bool], Figure]:
    """Bytes of weights that plain decoding reads a second, as a share of what the machine reads."""
    return lambda reports, quiet: Figure(reports[benchmark]["reading"]["share"])


def perplexity(benchmark: str) -> Callable[[Reports, bool], Figure]:
    """By how many percent it is higher with int8 activations than with float ones."""

    def read(reports: Reports, quiet: bool) -> Figure:
        ratio = reports[benchmark]["quality"]["paceline"]["perplexity"]
        value, low, high = (None if (edge := ratio[name]) is None else 100 * (edge - 1) for name in ("value", "low", "high"))
        return Figure(value or 0.0, low, high)

    return read


def divergence(benchmark: str, rival: str) -> Callable[[Reports, bool], Figure]:
    """How far our int8 activations are from float ones, over how far the rival is."""

    def read(reports: Reports, quiet: bool) -> Figure:
        sides = reports[benchmark]["quality"]
        return Figure(sides["paceline"]["divergence"] / sides[rival]["divergence"])

    return read


def answers(benchmark: str) -> Callable[[Reports, bool], Figure]:
    """The share of answers with float activations that are transformers'; a tie counts as equal, and is listed all the same."""

    def read(reports: Reports, quiet: bool) -> Figure:
        report = reports[benchmark]
        return Figure(report["answers"]["identical"] + report["answers"]["ties"] / report["prompts"])

    return read
