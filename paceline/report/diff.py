"""Two checkpoints of one model on the same texts: what changed by more than its interval."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, cached_property

import torch

from paceline import plugins
from paceline.core.reading import Figure, Reading
from paceline.errors import ModelError
from paceline.report.advice import Advice
from paceline.report.look import Look
from paceline.report.roles import Head
from paceline.report.sections import in_order, title
from paceline.report.table import Bar, Section, Table, number, ticks
from paceline.report.view import View

__all__ = ["Diff", "changes", "difference"]

MOST = 10  # changes listed of a figure


def difference(before: Figure, after: Figure) -> Figure:
    """after - before, text by text. Raises ModelError where they are of other shapes: not two checkpoints of one model."""
    if before.each.shape != after.each.shape:
        raise ModelError("Expected two checkpoints of one model, and the same texts; found figures of "
                         f"{list(before.each.shape)} and {list(after.each.shape)} (texts, {', '.join(after.axes)}).")
    return Figure(after.each - before.each, after.axes, after.unit, 0.0, after.ticks)


def changes(figure: Figure) -> torch.Tensor:
    """Where a difference lies beyond its interval, of the mean's shape; nowhere for weights alone, which have none."""
    low, high = figure.interval()
    return ((low > 0) | (high < 0)) & (len(figure.each) > 1)


@cache
def chance(texts: int) -> float:
    """Share of figures that lie beyond their interval where nothing changed: one in twenty of many texts, more of few, whose
    bootstrap intervals are too short.
    """
    noise = torch.randn((texts, 2000), generator=torch.Generator().manual_seed(0), dtype=torch.float32, device="cpu")
    return float(changes(Figure(noise, ("figure",), "")).float().mean())


class Diff:
    """What is shown of two looks; it has what a page shows of one (`View`)."""

    atlas = "Every head afterwards, by what it does; ringed: something else than before"
    advice: tuple[Advice, ...] = ()

    def __init__(self, before: Look, after: Look) -> None:
        self.before, self.after = View(before), View(after)
        self.model = f"{self.before.model} → {self.after.model}"

    @property
    def heads(self) -> list[Head]:
        return self.after.heads

    @cached_property
    def pairs(self) -> list[tuple[Reading, Reading]]:
        """Readings of both by the same probe."""
        later = {reading.name: reading for reading in self.after.readings}
        return [(reading, later[reading.name]) for reading in in_order(self.before.readings) if reading.name in later]

    @cached_property
    def renamed(self) -> list[tuple[Head, Head]]:
        """Heads whose role is another now, surely so in both."""
        both = zip(self.before.heads, self.after.heads, strict=True)
        return [(a, b) for a, b in both if a.word != b.word and a.sure and b.sure]

    @property
    def ringed(self) -> list[Head]:
        return [after for _, after in self.renamed]

    @cached_property
    def sections(self) -> list[Section]:
        return [section(before, after) for before, after in self.pairs]

    @property
    def headline(self) -> list[str]:
        beyond, count = (sum(int(str(row[column])) for s in self.sections for row in s.tables[0].rows) for column in (2, 1))
        expected = chance(max(before.texts for before, _ in self.pairs)) * count
        return [f"{beyond:,} of {count:,} figures changed by more than their interval; by chance {expected:,.0f} would.",
                f"{len(self.renamed)} of {len(self.heads)} heads have another role now."]

    @property
    def strongest(self) -> Table:
        rows = [(f"{b.layer}.{b.head}", a.word, b.word, number(a.strength), number(b.strength)) for a, b in self.renamed]
        return Table("Heads with another role", ["layer.head", "before", "after", "share before", "share after"], rows, open=True)

    @property
    def lines(self) -> list[str]:
        """For a terminal: of each probe's figures, how many changed."""
        told = {s.title: ", ".join(f"{row[0]} {row[2]} of {row[1]}" for row in s.tables[0].rows) for s in self.sections}
        return [f"{title}: {counts}." for title, counts in told.items() if counts]

    @property
    def warnings(self) -> list[str]:
        return list(dict.fromkeys([*self.before.warnings, *self.after.warnings]))

    @property
    def caption(self) -> str:
        return f"Before: {self.before.caption} After: {self.after.model}, on the same texts, compared text by text."


def section(before: Reading, after: Reading) -> Section:
    """How many figures of each kind changed, and the largest changes."""
    shared = [name for name in before.values if name in after.values]
    made = {name: difference(before.values[name], after.values[name]) for name in shared}
    counts = [(name, str(f.mean.numel()), str(int(changes(f).sum()))) for name, f in made.items() if len(f.each) > 1]
    largest = [row for name, f in made.items() for row in rows(name, before.values[name], f)]
    tables = [Table("How many changed", ["figure", "values", "beyond their interval"], counts, open=True),
              Table("The largest changes", ["figure", "at", "before", "after", "change"], largest)]
    name = plugins.parse(before.name)[0]
    return Section(name, title(name), after.how, (), tables)


def rows(name: str, before: Figure, change: Figure) -> Iterator[tuple[str, str, str, str, Bar]]:
    """The largest changes of one figure that lie beyond their interval."""
    low, high = change.interval()
    size = torch.where(changes(change) | (len(change.each) == 1), change.mean.abs(), 0).flatten()
    for at in size.argsort(descending=True)[:MOST].tolist():
        if size[at] == 0:
            return
        place = torch.unravel_index(torch.tensor(at), change.mean.shape)
        where = ", ".join(f"{axis} {ticks(change, axis)[int(i)]}" for axis, i in zip(change.axes, place, strict=True))
        start, moved = float(before.mean[place]), float(change.mean[place])
        yield name, where, number(start), number(start + moved), Bar(moved, float(low[place]), float(high[place]))
