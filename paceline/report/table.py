"""Parts of a report that both a page and a terminal can show: sections of tables whose cells are text or bars. Knows no probe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from paceline import plugins
from paceline.core.reading import Figure, Reading

__all__ = ["Bar", "Cell", "Section", "Table", "along", "bars", "figure", "marks", "number", "ticks"]

WIDTH, HEIGHT = 100, 12


@dataclass(frozen=True)
class Bar:
    """A value with its interval over texts (None: one text, or none needed), the level that means nothing, and what a full bar
    stands for.
    """

    value: float
    low: float | None = None
    high: float | None = None
    null: float | None = None
    full: float = 1.0

    def __str__(self) -> str:
        value, *ends = (number(x, self.full) for x in (self.value, self.low, self.high) if x is not None)
        return f"{value} [{', '.join(ends)}]" if ends else value

    @property
    def svg(self) -> str:
        """The bar itself, with its interval as a thin line across and the null level as a mark."""
        parts = [f'<rect class="full" width="{WIDTH}" height="{HEIGHT}"/>'
                 f'<rect class="value" width="{self._at(self.value)}" height="{HEIGHT}"/>']
        if self.low is not None and self.high is not None:
            left, right = self._at(self.low), self._at(self.high)
            parts.append(f'<path class="edge" d="M{left} 6H{right}M{left} 3V9M{right} 3V9"/>')
        if self.null is not None:
            parts.append(f'<path class="null" d="M{self._at(self.null)} 0V{HEIGHT}"/>')
        return f'<svg class="bar" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none">{"".join(parts)}</svg>'

    def _at(self, value: float) -> float:
        return round(WIDTH * min(max(value / self.full, 0.0), 1.0), 1)


Cell = str | Bar


@dataclass(frozen=True)
class Table:
    """Rows of cells below their columns. marked: rows that stand out, by their index. open: shown at once, however long."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    marked: frozenset[int] = frozenset()
    open: bool = False


@dataclass(frozen=True)
class Section:
    """What one probe saw. how: how to read it. notes: what else has to be known. charts: drawings as SVG."""

    name: str
    title: str
    how: str
    notes: Sequence[str] = ()
    tables: Sequence[Table] = ()
    charts: Sequence[str] = ()


def number(value: float, scale: float | None = None) -> str:
    """With as many places as make sense for values of that scale (its own, if none is given); a dash where there is none."""
    size = abs(value if scale is None else scale)
    if value != value:
        return "–"
    if 0 < size < 0.01:
        return f"{value:.1e}"
    return f"{value:,.{0 if size >= 1000 else 1 if size >= 10 else 2 if size >= 0.1 else 3}f}"


def figure(readings: Sequence[Reading], probe: str, name: str) -> Figure | None:
    """What a probe calls so; None where it was not asked or says nothing of it."""
    found = next((r for r in readings if plugins.parse(r.name)[0] == probe), None)
    return found.values.get(name) if found else None


def along(figure: Figure, *axes: str) -> Figure:
    """Its mean over all axes but these, text by text."""
    gone = [d for d, axis in enumerate(figure.axes) if axis not in axes]
    if not gone:
        return figure
    null = figure.null if figure.null is None else torch.as_tensor(figure.null).expand(figure.mean.shape).mean(gone)
    return Figure(figure.each.nanmean([d + 1 for d in gone]), axes, figure.unit, null, figure.ticks)


def bars(figure: Figure, full: float | None = None) -> list[Bar]:
    """One for each place along the figure's only axis. full: what a full bar stands for; None = 1 for shares, otherwise the
    largest value.
    """
    values, shown = figure.mean.tolist(), len(figure.each) > 1
    low, high = (ends.tolist() for ends in figure.interval()) if shown else ([None] * len(values),) * 2
    nulls = [None] * len(values) if figure.null is None else torch.as_tensor(figure.null).expand(len(values)).tolist()
    largest = max((abs(value) for value in values if value == value), default=1.0)
    top = full or (1.0 if figure.unit.startswith("share") else largest or 1.0)
    return [Bar(*each, top) for each in zip(values, low, high, nulls, strict=True)]


def ticks(figure: Figure, axis: str) -> list[str]:
    """What stands along an axis, as text."""
    return [str(mark) for mark in marks(figure, axis)]


def marks(figure: Figure, axis: str) -> Sequence[Any]:
    """What stands along an axis: where some layers do not attend, the numbers of those that do."""
    return figure.ticks.get(axis) or range(figure.mean.shape[figure.axes.index(axis)])
