"""Renders `benchmarks/README.md` from the JSON reports beside it: every target beside what was measured, then all
tables.
"""

from __future__ import annotations

from typing import Any

from paceline.bench.noise import PROMPTS, hides
from paceline.bench.report import caption, markdown, remarks
from paceline.bench.targets import TARGETS, Figure, Target

__all__ = ["render"]

HEAD = """# Benchmarks

Rendered from the reports beside this page by `make bench`. All methods of a table ran in one process on the
same weights, in turns; rivals on a stock copy. Speeds are ratios; brackets hold 95 % bootstrap intervals over
prompts. A target holds only if it holds for all outputs *and* without the looping ones (an 8-gram three times
in the last 64 tokens). [Reading a benchmark](../docs/benchmarks.md) explains the figures.
"""


def render(reports: dict[str, Any]) -> str:
    """The page; targets whose report is missing are listed as not measured."""
    lines = [
        HEAD,
        "## Targets\n",
        "| figure | target | measured | without looping outputs | met | report |",
        "|" + "---|" * 6,
    ]
    lines += [_line(target, reports) for target in TARGETS]
    lines += [_section(name, report) for name, report in reports.items()]
    return "\n".join(lines) + "\n"


def _line(target: Target, reports: dict[str, Any]) -> str:
    bound = f"{'≤' if target.most else '≥'} {target.bound:.3g}"
    found = [_read(target, reports, quiet) for quiet in (False, True)]
    if found[0] is None:
        return f"| {target.figure} | {bound} | not measured | – | – | – |"
    cells = [
        target.figure,
        bound,
        *map(_cell, found),
        _met(target, found, reports[target.benchmark]),
        f"[{target.benchmark}](#{target.benchmark})",
    ]
    return f"| {' | '.join(cells)} |"


def _met(target: Target, found: list[Figure | None], report: dict[str, Any]) -> str:
    """Whether the target holds, for all outputs and without the looping ones; nothing is said of few prompts or within noise."""
    shown = [figure for figure in found if figure is not None]
    if report["prompts"] < PROMPTS:
        return "too few prompts"
    if any(figure.low is not None and hides(report.get("noise"), figure.value / target.bound) for figure in shown):
        return "machine too noisy"
    return "yes" if all(map(target.met, shown)) else "**no**"


def _read(target: Target, reports: dict[str, Any], quiet: bool) -> Figure | None:
    """None where the benchmark was not run, or has no output left without the looping ones."""
    try:
        return target.read(reports, quiet)
    except (KeyError, ValueError):
        return None


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return "–"
    spread = "" if figure.low is None else f" [{figure.low:.2f}, {figure.high:.2f}]"
    return f"{figure.value:.3g}{spread}"


def _section(name: str, report: dict[str, Any]) -> str:
    parts = [f"\n## {name}\n", f"`{report['command']}`\n", " ".join([caption(report), *remarks(report)]), "", markdown(report)]
    kinds = list(next(iter(report["methods"].values()))["by_task"])
    for kind in kinds if len(kinds) > 1 else []:
        parts.append(f"\n**{kind}**\n\n{markdown(report, kind)}")
    return "\n".join(parts + _forwards(report) + _divergences(report))


def _forwards(report: dict[str, Any]) -> list[str]:
    """Seconds of single forwards, ours and llama.cpp's, where it was there."""
    found = report.get("forwards", {})
    return [
        f"\nA forward of {size} behind {found['context']} tokens: ours {1000 * pair['paceline']:.1f} ms, llama.cpp "
        f"{1000 * pair['llama_cpp']:.1f} ms, ratio {pair['llama_cpp'] / pair['paceline']:.2f}."
        for size, pair in found.items()
        if size != "context"
    ]


def _divergences(report: dict[str, Any]) -> list[str]:
    """Every method that differed from plain: how often, where first, at what margins; nothing is hidden."""
    lines = []
    for name, method in report["methods"].items():
        if found := method["divergences"]:
            margins = sorted(d["margin"] for d in found)
            middle = margins[len(margins) // 2]
            lines.append(
                f"\n{name}: {len(found)} of {report['prompts']} outputs differ from plain, {method['ties']} of them "
                f"ties (gap below 1e-5); gap of the two likeliest tokens at the first difference {margins[0]:.2g} to "
                f"{margins[-1]:.2g}, median {middle:.2g}."
            )
    return lines
