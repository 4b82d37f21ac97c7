"""One section a probe: tables and charts of what it saw. A probe that is not known here has its figures shown as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from paceline import plugins
from paceline.core.reading import Figure, Reading
from paceline.doctor.plot import chart
from paceline.report.advice import lazy_layers
from paceline.report.roles import ROLES
from paceline.report.table import Cell, Section, Table, along, bars, number, ticks

__all__ = ["in_order", "sections", "title"]

SHORT = 12  # rows of a table that is shown at once
Parts = tuple[list[Table], list[str]]  # tables and charts


def sections(readings: Sequence[Reading]) -> list[Section]:
    return [section(reading) for reading in in_order(readings)]


def in_order(readings: Sequence[Reading]) -> list[Reading]:
    """Those that this file knows first, in its order."""
    kinds = [*SPECIAL, *plugins.names("probe")]
    return sorted(readings, key=lambda r: kinds.index(plugins.parse(r.name)[0]))


def title(probe: str) -> str:
    """What a probe looks at, by the first words of its file."""
    return plugins.summary("probe", probe).partition(":")[0].partition(" (")[0]


def section(reading: Reading) -> Section:
    name = plugins.parse(reading.name)[0]
    tables, charts = SPECIAL.get(name, plain)(reading)
    return Section(name, title(name), reading.how, reading.notes, tables, charts)


def plain(reading: Reading) -> Parts:
    """Figures with the same rows side by side; those with columns of their own in tables of their own."""
    flat = {name: reduced(figure) for name, figure in reading.values.items()}
    rows = {f.axes: {n: g for n, g in flat.items() if g.axes == f.axes} for f in flat.values() if len(f.axes) == 1}
    tables = [beside(figures, len(next(iter(figures.values())).mean) <= SHORT) for figures in rows.values()]
    return [*tables, *(grid(name, f) for name, f in flat.items() if len(f.axes) == 2)], []


def sinks(reading: Reading) -> Parts:
    """By layer, how many heads sink on the first key, and what is known of the key that gets most."""
    values = reading.values
    first = replace(values["sink"], each=values["sink"].each[..., 0], axes=("layer",), unit="share of heads that sink on token 0")
    share, written = along(values["share"], "layer"), along(values["written"], "layer")
    massive = replace(values["massive"], unit="residual stream there, times the median norm")
    by_layer = {"heads": first, "attention": replace(share, unit="share of attention to the sink"), "": massive,
                "write": replace(written, unit="share of what heads write that comes from it")}
    total = replace(values["total"], unit="share of heads that sink on this token")
    return [beside(by_layer), beside({"heads": total}, shown=False)], []


def slash(reading: Reading) -> Parts:
    """By offset, how many heads are slash-dominant there, and the best of them."""
    scores, least = reading.values["score"], ROLES["slash"].least
    above = replace(scores, each=(scores.each >= least).float(), null=None, unit=f"share of heads that score at least {least}")
    best = {name: replace(f, each=f.each.flatten(1, 2).amax(1), null=None, axes=("lag",), unit=unit) for name, unit, f in
            (("best", "best score of any head", scores), ("lift", "best lift of any head", reading.values["lift"]))}
    return [beside({"heads": along(above, "lag"), "mean": along(scores, "lag"), **best}), *plain(reading)[0][:1]], []


def lazy(reading: Reading) -> Parts:
    """By layer; those that a streaming cache would suit stand out."""
    cut = lazy_layers([reading])
    marked = () if cut is None else cut.nonzero()[:, 0].tolist()
    return [replace(beside(reading.values, marked=marked), title="By layer; brown: lazy ones")], []


def rope_drift(reading: Reading) -> Parts:
    """How far attention moves, a line for each precision."""
    drift = along(reading.values["drift"], "mode", "length")
    lines = {mode: {float(n): y for n, y in zip(ticks(drift, "length"), row, strict=True) if y > 0}
             for mode, row in zip(ticks(drift, "mode"), drift.mean.tolist(), strict=True)}
    drawn = chart({k: line for k, line in lines.items() if line}, "tokens of the text", drift.unit, log=True, decades=True)
    others = {name: figure for name, figure in reading.values.items() if name != "drift"}
    return [replace(grid("drift", drift), open=True), *plain(replace(reading, values=others))[0]], [drawn]


def spectra(reading: Reading) -> Parts:
    """A row for each kind of matrix, means over layers, each beside that of random matrices."""
    figures = {name: along(figure, "role") for name, figure in reading.values.items()}
    columns = {f"{name}, {f.unit}": [*map(number, f.mean.tolist())] for name, f in figures.items()}
    rows = list(zip(ticks(next(iter(figures.values())), "role"), *columns.values(), strict=True))
    random = [number(float(torch.as_tensor(f.null).nanmean())) for f in figures.values()]
    return [Table("By matrix", ["matrix", *columns], [*rows, ("random ones", *random)], open=True)], []


SPECIAL: Mapping[str, Callable[[Reading], Parts]] = {
    "sinks": sinks, "slash": slash, "lazy": lazy, "rope_drift": rope_drift, "spectra": spectra,
}  # fmt: skip


def reduced(figure: Figure) -> Figure:
    """Its mean over heads, and over whatever else stands before its last two axes; what has one place only is no axis."""
    wide = [axis for axis, size in zip(figure.axes, figure.mean.shape, strict=True) if size > 1 and axis != "head"]
    found = along(figure, *wide[-2:])
    return found if found.axes else Figure(found.each[:, None], ("",), found.unit, found.null, {"": [""]})


def beside(figures: Mapping[str, Figure], shown: bool = True, marked: Sequence[int] = ()) -> Table:
    """Figures along the same axis, a column of bars each."""
    first = next(iter(figures.values()))
    [axis] = first.axes
    columns: list[Sequence[Cell]] = [ticks(first, axis), *map(bars, figures.values())]
    heads = [axis, *(heading(name, f) for name, f in figures.items())]
    return Table(f"By {axis}", heads, list(zip(*columns, strict=True)), frozenset(marked), shown)


def heading(name: str, figure: Figure) -> str:
    """A column's name and its unit."""
    return f"{name}, {figure.unit}" if name not in figure.unit else figure.unit


def grid(name: str, figure: Figure) -> Table:
    """A figure along two axes, numbers alone."""
    down, across = figure.axes
    rows = [(tick, *map(number, row)) for tick, row in zip(ticks(figure, down), figure.mean.tolist(), strict=True)]
    return Table(f"{name}, {figure.unit}", [f"{down} / {across}", *ticks(figure, across)], rows)
