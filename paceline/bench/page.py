"""Renders `benchmarks/README.md` from the JSON reports beside it: every target beside what was measured, then all tables; the
real model first, the embedded ones as an appendix.
"""

from __future__ import annotations

from typing import Any

from paceline.bench import curve_table, quality_table
from paceline.bench.noise import PROMPTS, hides
from paceline.bench.report import caption, markdown, remarks
from paceline.bench.smol_targets import SMOL
from paceline.bench.specs import SUITES
from paceline.bench.targets import Figure, Target
from paceline.bench.zoo_targets import ZOO

__all__ = ["front", "render", "with_front"]

MARKS = ("<!-- figures -->", "<!-- end of figures -->")

HEAD = """# Benchmarks

Rendered from the reports beside this page by `make bench`. All methods of a table ran in one process on the
same weights, in turns; rivals read the same file. Speeds are ratios; brackets hold 95 % bootstrap intervals over
prompts. A target holds only if it holds for all outputs *and* without the looping ones (an 8-gram three times
in the last 64 tokens). [Reading a benchmark](../docs/benchmarks.md) explains the figures.
"""
APPENDIX = """
# Appendix: the embedded models

Small enough to lie in a cache, where a drafted token costs arithmetic rather than a wait for memory, and much of their
greedy text repeats itself; "grown" targets are the same function at a realistic cost.
"""


def render(reports: dict[str, Any]) -> str:
    """The page; targets whose report is missing are listed as not measured."""
    first = [name for name in SUITES["smol"] if name in reports]
    rest = [name for name in reports if name not in first]
    parts = [HEAD, "## Targets\n", *_targets(SMOL, reports), *_sections(first, reports)]
    parts += [APPENDIX, "## Targets on embedded models\n", *_targets(ZOO, reports), *_sections(rest, reports)]
    return "\n".join(parts) + "\n"


def front(reports: dict[str, Any]) -> str:
    """README's table: what was measured on the real model, whether it is what was hoped for or not."""
    lines = ["| | all outputs | without outputs that repeat themselves |", "|---|---|---|"]
    for target in SMOL:
        found = [_read(target, reports, quiet) for quiet in (False, True)]
        if found[0] is not None:
            lines.append(f"| {target.figure} | {' | '.join(map(_cell, found))} |")
    return "\n".join(lines) + "\n"


def with_front(readme: str, reports: dict[str, Any]) -> str:
    """README with the table between its two marks made anew; as it is where it has none or nothing was measured."""
    before, mark, rest = readme.partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    table = front(reports)
    return f"{before}{mark}\n{table}{end}{after}" if end and table.count("\n") > 2 else readme


def _targets(targets: list[Target], reports: dict[str, Any]) -> list[str]:
    head = ["| figure | target | measured | without looping outputs | met | report |", "|" + "---|" * 6]
    return [*head, *(_line(target, reports) for target in targets)]


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
        f"[{target.benchmark}](#{anchor(target.benchmark)})",
    ]
    return f"| {' | '.join(cells)} |"


def anchor(heading: str) -> str:
    """Where a heading is found on the page: dots are left out there."""
    return heading.replace(".", "")


def _met(target: Target, found: list[Figure | None], report: dict[str, Any]) -> str:
    """Whether the target holds, for all outputs and without the looping ones; nothing is said of few prompts or within noise."""
    shown = [figure for figure in found if figure is not None]
    if report.get("prompts", PROMPTS) < PROMPTS:
        return "too few prompts"
    if any(figure.low is not None and hides(report.get("noise"), figure.value / target.bound) for figure in shown):
        return "machine too noisy"
    return "yes" if all(map(target.met, shown)) else "**no**"


def _read(target: Target, reports: dict[str, Any], quiet: bool) -> Figure | None:
    """None where the benchmark was not run, or has no output left without the looping ones; only methods have outputs."""
    if quiet and "methods" not in reports.get(target.benchmark, ()):
        return None
    try:
        return target.read(reports, quiet)
    except (KeyError, ValueError, StopIteration):
        return None


def _cell(figure: Figure | None) -> str:
    if figure is None:
        return "–"
    spread = "" if figure.low is None else f" [{figure.low:.2f}, {figure.high:.2f}]"
    return f"{figure.value:.3g}{spread}"


def _sections(names: list[str], reports: dict[str, Any]) -> list[str]:
    return [f"\n## {name}\n\n`{reports[name]['command']}`\n\n{_body(reports[name])}" for name in names]


def _body(report: dict[str, Any]) -> str:
    for key, table in (("steps", curve_table), ("quality", quality_table)):
        if key in report:
            return f"{table.caption(report)}\n\n{table.markdown(report)}"
    parts = [" ".join([caption(report), *remarks(report)]), "", markdown(report)]
    kinds = list(next(iter(report["methods"].values()))["by_task"])
    for kind in kinds if len(kinds) > 1 else []:
        parts.append(f"\n**{kind}**\n\n{markdown(report, kind)}")
    return "\n".join(parts + _divergences(report))


def _divergences(report: dict[str, Any]) -> list[str]:
    """Every method that differed from plain: how often, where first, at what margins; nothing is hidden."""
    lines = []
    for name, method in report["methods"].items():
        if found := method["divergences"]:
            margins = sorted(d["margin"] for d in found if d["margin"] is not None)
            looked = "" if len(margins) == len(found) else f", of {len(margins)} looked at"
            lines.append(
                f"\n{name}: {len(found)} of {report['prompts']} outputs differ from plain, in the median from token "
                f"{sorted(d['index'] for d in found)[len(found) // 2]} on, {method['ties']} of them ties (gap below 1e-5); gap "
                f"of the two likeliest tokens at the first difference {margins[0]:.2g} to {margins[-1]:.2g}, median "
                f"{margins[len(margins) // 2]:.2g}{looked}."
            )
    return lines
