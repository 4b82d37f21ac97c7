"""A curve's report for people: a table of milliseconds on the terminal, and as markdown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from paceline.bench.report import number_format, show_table, wide_console

__all__ = ["caption", "columns", "markdown", "rows", "show"]


def columns(report: dict[str, Any]) -> list[str]:
    sides, sizes = list(report["what"]), list(next(iter(report["steps"].values()), {}))
    counted = [f"{size} token{'s' * (size != '1')}" for size in sizes]
    return ["behind", "by", *counted, "4 / 1", "8 / 1", *(["ours, 1 token"] if len(sides) > 1 else [])]


def rows(report: dict[str, Any]) -> Iterator[list[str]]:
    """For each length and side: milliseconds of every size, what 4 and 8 tokens cost over one, and how much faster our plain
    step is.
    """
    for length, sizes in report["steps"].items():
        for side in report["what"]:
            one = sizes["1"][side]
            yield [
                f"{length} tokens",
                side,
                *(f"{1000 * took[side]:.1f} ms" for took in sizes.values()),
                *(f"{sizes[size][side] / one:.2f}" for size in ("4", "8")),
                *([] if len(report["what"]) == 1 else ["" if side == "paceline" else f"{one / sizes['1']['paceline']:.2f}x"]),
            ]


def prefills(report: dict[str, Any]) -> Iterator[str]:
    """One sentence for each length of prompt."""
    for length, took in report["prefill"].items():
        ours = took["paceline"]
        others = [f"{side} {seconds:.2f} s ({seconds / ours:.2f}x)" for side, seconds in took.items() if side != "paceline"]
        yield f"A prompt of {length} tokens: paceline {ours:.2f} s ({float(length) / ours:.0f} tokens/s)" + "".join(
            f", {other}" for other in others) + "."  # fmt: skip


def caption(report: dict[str, Any]) -> str:
    """Which model and machine; and how near plain decoding comes to what memory gives."""
    model, machine, reading, settings = report["model"], report["machine"], report["reading"], report["settings"]
    name = f"random weights of {settings['shape']} shape" if settings["shape"] else settings["model"]
    said = (f"{name}, {model['parameters'] / 1e6:.0f} M parameters, {number_format(model)}, "
            f"{reading['weight_bytes'] / 1e6:.0f} MB of weights a token, {model['forward']} forward, "
            f"{machine['threads']} threads of {machine['processor']}; medians, sides in turns.")
    if "share" not in reading:
        return said
    limit = reading["limit"]["bytes_per_second"]
    return (f"{said} A plain step reads {reading['bytes_per_second'] / 1e9:.1f} GB/s of weights, {reading['share']:.0%} of the "
            f"{limit / 1e9:.1f} GB/s that the machine reads.")  # fmt: skip


def show(report: dict[str, Any], console: Any = None) -> None:
    """Print it."""
    console = console or wide_console()
    show_table(columns(report), list(rows(report)), console)
    for line in [*prefills(report), caption(report)]:
        console.print(line, highlight=False)


def markdown(report: dict[str, Any]) -> str:
    """The same as markdown."""
    heads = columns(report)
    table = ["| " + " | ".join(row) + " |" for row in [heads, *rows(report)]]
    table.insert(1, "|" + "---|" * len(heads))
    return "\n".join([*table, "", *prefills(report)])
