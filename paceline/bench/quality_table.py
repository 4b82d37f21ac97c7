"""A comparison of quality for people: a table of distances on the terminal, and as markdown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from paceline.bench.report import interval, number_format, show_table, wide_console
from paceline.convert.loss import MOST

__all__ = ["caption", "markdown", "rows", "show"]

COLUMNS = ("texts", "by", "tokens", "perplexity", "over float's", "KL from float, nats", "same likeliest token")


def rows(report: dict[str, Any]) -> Iterator[list[str]]:
    """For all texts and each kind: what float activations give, and how far each side is from it."""
    sides = report["quality"]
    kinds = list(sides["paceline"]["by_task"])
    for kind in ["all", *(kinds if len(kinds) > 1 else [])]:
        told = {side: figures if kind == "all" else figures["by_task"][kind] for side, figures in sides.items()}
        ours = told["paceline"]
        yield [kind, "paceline, float", str(ours["tokens"]), f"{ours['before']:.3f}", "", "", ""]
        for side, figures in told.items():
            name = "paceline, int8" if side == "paceline" else side
            yield [kind, name, str(figures["tokens"]), f"{figures['after']:.3f}", interval(figures["perplexity"], 4),
                   f"{figures['divergence']:.2g}", f"{figures['same']:.2%}"]  # fmt: skip


def caption(report: dict[str, Any]) -> str:
    """Which model and machine."""
    model, machine = report["model"], report["machine"]
    return (f"{report['settings']['model']}, {model['parameters'] / 1e6:.1f} M parameters, {number_format(model)}, "
            f"{report['prompts']} texts of at most {MOST} tokens, {machine['threads']} threads of {machine['processor']}.")


def answers(report: dict[str, Any]) -> Iterator[str]:
    """Whether unrounded activations gave transformers' text; every place where they did not."""
    if found := report["answers"]:
        count, places = report["prompts"], found["differences"]
        yield (f"With float activations {count - len({place['prompt'] for place in places})} of {count} answers "
               f"({found['tokens']} tokens) are, token by token, what transformers finds likeliest in fp32.")  # fmt: skip
        if places:
            listed = "; ".join(f"answer {p['prompt']}, token {p['index']}, {p['margin']:.2g}" for p in places)
            yield f"Where another token is likelier, and by how much: {listed}; {found['ties']} answers part at a tie."


def show(report: dict[str, Any], console: Any = None) -> None:
    """Print it."""
    console = console or wide_console()
    show_table(COLUMNS, list(rows(report)), console)
    for line in [*answers(report), caption(report)]:
        console.print(line, highlight=False)


def markdown(report: dict[str, Any]) -> str:
    """The same as markdown."""
    table = ["| " + " | ".join(row) + " |" for row in [COLUMNS, *rows(report)]]
    table.insert(1, "|" + "---|" * len(COLUMNS))
    return "\n".join([*table, "", *answers(report)])
