"""A replay's report for people: one table of drafters, one of where their tokens came from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from paceline.bench.report import show_table, wide_console

__all__ = ["caption", "rows", "show", "sources"]

COLUMNS = ("drafter", "tokens per forward", "forwards", "first half", "second half", "drafted per forward", "accepted",
           "at depth 1, 2, 3, 4", "drafting, µs a token")  # fmt: skip
SOURCES = ("drafter", "source", "drafted", "accepted", "share")


def rows(report: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """One row of cells per drafter."""
    for spec, f in report["drafters"].items():
        halves = [f"{f['by_half'][half]['acceptance_length']:.2f}" if f["by_half"] else "–" for half in ("first", "second")]
        rate = f["acceptance_rate"]
        yield (
            spec,
            _interval(f["acceptance_length"], f["acceptance_length_interval"], 2),
            str(f["target_forwards"]),
            *halves,
            f"{f['drafted_per_forward']:.1f}",
            "–" if rate is None else f"{rate:.0%}",
            ", ".join(f"{share:.2f}" for share in f["accept_per_position"][:4]) or "–",
            _interval(f["draft_seconds_per_token"], f["draft_seconds_per_token_interval"], 1, 1e6),
        )


def sources(report: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    """One row of cells per drafter and source."""
    for spec, f in report["drafters"].items():
        for source, counts in f["sources"].items():
            yield spec, source, str(counts["drafted"]), str(counts["accepted"]), f"{counts['acceptance_rate']:.0%}"


def _interval(value: float, edges: list[float] | None, digits: int, scale: float = 1.0) -> str:
    told = ", ".join(f"{scale * edge:.{digits}f}" for edge in edges) if edges else "–"
    return f"{scale * value:.{digits}f} [{told}]"


def caption(report: dict[str, Any]) -> str:
    """What was replayed, and what is assumed in it."""
    settings = report["settings"]
    budget = settings["budget"] if settings["budget"] is not None else "the controller's default"
    return (
        f"{report['records']} recorded outputs of {report['output_tokens']} tokens from {settings['file']}, tokenizer "
        f"{settings['tokenizer']}, one after another; node budget {budget}; no model ran. One more token in a forward is taken "
        f"to cost {settings['token_cost']:g} of it (assumed, not measured). Intervals: bootstrap over records, 95 %."
    )


def show(report: dict[str, Any]) -> None:
    """Print both tables, the caption, and what has to be said of single drafters."""
    console = wide_console()
    for columns, cells in ((COLUMNS, list(rows(report))), (SOURCES, list(sources(report)))):
        if cells:
            show_table(columns, cells, console)
    console.print(caption(report), highlight=False)
    for spec, f in report["drafters"].items():
        for note in [*f["notes"], *f["failures"]]:
            console.print(f"note: {spec}: {note}", highlight=False)
        if f["identical"] < 1:
            console.print(f"{spec}: {1 - f['identical']:.1%} of the outputs DIFFER from the recorded ones.", highlight=False)
