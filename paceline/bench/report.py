"""Reports for people: a table on the terminal, and markdown for `benchmarks/`. Every speed names dtype, forward and
budget.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from paceline.bench.noise import CALM, disagreement, enough
from paceline.bench.summary import PLAIN

__all__ = ["NOISY", "caption", "interval", "markdown", "number_format", "remarks", "rows", "show", "show_table", "wide_console"]

COLUMNS = (
    "method",
    "tokens/s",
    "speed-up",
    "after prefill",
    "expected",
    "acceptance length",
    "forwards",
    "identical",
    "looping",
    "draft / verify / other",
)
SPEEDS = ("speedup", "speedup_after_prefill")


NAME = 16  # characters that names have at least in the first column
NOISY = "too noisy"  # in place of a speed that acceptance does not allow


def interval(figure: dict[str, Any] | None, digits: int = 2, unit: str = "x") -> str:
    """`1.83x [1.79, 1.88]`; `1.83x [–]` of one prompt, which has no interval; a dash where there is no figure."""
    if not figure:
        return "–"
    edges = [figure["low"], figure["high"]]
    told = "–" if None in edges else ", ".join(f"{edge:.{digits}f}" for edge in edges)
    return f"{figure['value']:.{digits}f}{unit} [{told}]"


def rows(methods: dict[str, Any], part: str | None = None) -> Iterator[tuple[str, ...]]:
    """One row of cells per method; `part` takes the figures of one kind of text."""
    for name, method in methods.items():
        figures = method["by_task"][part] if part else method
        expected, length = figures.get("expected_speedup"), figures.get("acceptance_length")
        yield (
            name,
            f"{figures['tokens_per_second']:.0f}",
            *(NOISY if figures.get("above_acceptance") else interval(figures.get(speed)) for speed in SPEEDS),
            f"{expected:.2f}x" if expected else "–",
            f"{length:.2f}" if length else "–",
            str(figures["target_forwards"] or "–"),
            "–" if method["identical"] is None else f"{method['identical']:.1%}",
            f"{figures['looping']:.0%}",
            _split(figures.get("seconds")),
        )


def _split(seconds: dict[str, float] | None) -> str:
    if not seconds:
        return "–"
    total = max(sum(seconds.values()), 1e-12)
    draft, verify = seconds["draft"] / total, seconds["verify"] / total
    return f"{draft:.0%} / {verify:.0%} / {1 - draft - verify:.0%}"


def caption(report: dict[str, Any]) -> str:
    """Where and how: the sentence every table of speeds carries."""
    model, settings, machine = report["model"], report["settings"], report["machine"]
    grown = " (grown from the zoo: identity blocks, so the same text at a realistic cost)" if report["grown"] else ""
    budget = settings["budget"] if settings["budget"] is not None else "the controller's default"
    warm = f", temperature {settings['temperature']:g}" if settings.get("temperature") else ""
    warm += f", top-p {settings['top_p']:g}" if settings.get("top_p", 1.0) < 1.0 else ""
    return (
        f"{settings['model']}, {model['parameters'] / 1e6:.1f} M parameters{grown}, {number_format(model)}, "
        f"{model['forward']} forward, node budget {budget}, rows {settings['rows']}, "
        f"{report['prompts']} prompts x {settings['max_new_tokens']} tokens{warm}, "
        f"{settings['repeats']} interleaved repeats, {machine['threads']} threads of {machine['processor']}. "
        f"{report['methods'][PLAIN]['looping']:.0%} of plain decoding's outputs repeat themselves. "
        "After prefill: decoding alone. Expected is modelled from acceptance and forward times, not measured."
    )


def number_format(model: dict[str, Any]) -> str:
    """Block types of a file and how activations are multiplied, else the dtype."""
    return f"{' and '.join(model['formats'])}, {model['activations']} activations" if "formats" in model else model["dtype"]


def remarks(report: dict[str, Any]) -> list[str]:
    """What has to be said of a benchmark's speeds before they are believed."""
    measured, needed = report["prompts"], enough(report["settings"]["rows"])
    said = [f"Too few prompts for a verdict: {measured} measured, it takes {needed}."] if measured < needed else []
    if noise := report.get("noise"):
        said.append(f"Noise: plain decoding came to {interval(noise)} of its own speed, even repeats against odd ones.")
        if (spread := disagreement(noise)) > CALM:
            said.append(f"Machine too noisy, no verdict on any speed-up within {spread:.0%} of 1.")
    doubted = [name for name, method in report["methods"].items() if method.get("above_acceptance")]
    if doubted:
        said.append(f"Machine too noisy, no verdict on {', '.join(doubted)}: the rounds came out quicker than plain ones, which "
                    "none is; acceptance allows no such speed.")
    return said


def wide_console(stderr: bool = False) -> Any:
    """A console for tables; where nobody's terminal sets a width, wide enough to cut nothing. Brackets are those of specs."""
    from rich.console import Console

    console = Console(stderr=stderr, markup=False)
    return console if console.is_terminal else Console(stderr=stderr, width=180, markup=False)


def show_table(columns: Sequence[str], cells: Sequence[Sequence[str]], console: Any, title: str | None = None) -> None:
    """Print a table; names in its first column are broken where they must be, then headings; where the rest does not fit the
    terminal's width even so, a paragraph for each row instead, so that nothing is cut.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    broken = [textwrap.fill(head, max(map(len, [*column, *head.split()]))) for head, *column in zip(columns, *cells, strict=True)]
    heads = next((heads for heads in (columns, broken) if _fits(heads, cells, console.width)), None)
    if heads is None:
        _paragraphs(columns, cells, console, title)
        return
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for i, head in enumerate(heads):
        table.add_column(head, justify="right" if i else "left", overflow="fold", no_wrap=bool(i))
    for row in cells:
        table.add_row(*row)
    console.print(table)


def _fits(heads: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> bool:
    """Whether all columns but that of the names stand in one line each, two spaces between them."""
    lines = [[*head.split("\n"), *column] for head, *column in zip(heads, *cells, strict=True)]
    return NAME + sum(2 + max(map(len, column)) for column in lines[1:]) <= width


def _paragraphs(columns: Sequence[str], cells: Sequence[Sequence[str]], console: Any, title: str | None) -> None:
    from rich.padding import Padding
    from rich.text import Text

    console.print(f"\n{title}" if title else "", style="italic")
    for name, *rest in cells:
        console.print(name, style="bold", highlight=False)
        told = ", ".join(f"{head} {cell}" for head, cell in zip(columns[1:], rest, strict=True))
        console.print(Padding(Text(told), (0, 0, 0, 2)))
    console.print()


def show(report: dict[str, Any], console: Any = None) -> None:
    """Print a report's tables: all prompts, then each kind of text."""
    console = console or wide_console()
    kinds = list(next(iter(report["methods"].values()))["by_task"])
    for part in [None, *(kinds if len(kinds) > 1 else [])]:
        show_table(COLUMNS, list(rows(report["methods"], part)), console, part or "all prompts")
    for line in [*remarks(report), caption(report)]:
        console.print(line, highlight=False)
    for name, method in report["methods"].items():
        for failure in method.get("failures", ()):
            console.print(f"note: {name}: {failure}")
    if report["dropped_prompts"]:
        console.print(f"{report['dropped_prompts']} prompts did not fit the context and were left out.")


def markdown(report: dict[str, Any], part: str | None = None) -> str:
    """The same table as markdown."""
    head = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    return "\n".join(head + ["| " + " | ".join(row) + " |" for row in rows(report["methods"], part)])
