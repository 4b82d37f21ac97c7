"""The report on a terminal: the headline, the strongest heads, the laziest layers, advice, warnings."""

from __future__ import annotations

from typing import Any

from paceline.bench.report import show_table, wide_console
from paceline.report.diff import Diff
from paceline.report.view import View

__all__ = ["show"]


def show(view: View | Diff, console: Any = None) -> None:
    """Print it."""
    console = console or wide_console()
    console.print(" ".join(view.headline), style="bold", highlight=False)
    if rows := [tuple(map(str, row)) for row in view.strongest.rows]:
        show_table(view.strongest.columns, rows, console, view.strongest.title)
    for line in view.lines:
        console.print(line, highlight=False)
    for advice in view.advice:
        console.print(f"- {advice.finding} {advice.action}", highlight=False)
        if advice.command:
            console.print(f"    {advice.command}", highlight=False, soft_wrap=True)
    for line in [*view.warnings, view.caption]:
        console.print(line, highlight=False, style="dim")
