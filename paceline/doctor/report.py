"""The doctor's report on a terminal: the verdict first, then one table, then the reasons and what to type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from paceline.bench.noise import PROMPTS
from paceline.bench.report import NOISY, interval, show_table, wide_console

__all__ = ["COLUMNS", "caption", "closing", "megabytes", "place", "rows", "show"]

COLUMNS = ("drafter", "budget", "tokens a round", "measured", "modelled", "memory")
WIDE = 100  # characters from which on a terminal holds every interval


def rows(report: dict[str, Any], together: int, narrow: bool = False) -> Iterator[tuple[str, ...]]:
    """One row of cells per candidate with so many rows, the fastest first; narrow: without the interval of the acceptance."""
    judged = [c for c in report["candidates"] if c["rows"] == together]
    for c in sorted(judged, key=lambda c: -c["measured"]["value"]):
        length = f"{c['acceptance_length']['value']:.2f}" if narrow else interval(c["acceptance_length"], unit="")
        measured = NOISY if c["above_acceptance"] else interval(c["measured"])
        modelled = f"{c['modelled']['value']:.2f}x at {c['modelled_acceptance_length']['value']:.2f}"
        extra = megabytes(c["weight_bytes"]) if c["weight_bytes"] else "–"
        yield c["drafter"], str(c["budget"]), length, measured, modelled, extra


def megabytes(count: float) -> str:
    """`21 MB`, `1.4 GB`."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def caption(report: dict[str, Any]) -> str:
    """Where and how, and what the columns mean."""
    model, settings, (first, second) = report["model"], report["settings"], report["prompts"]
    grown = " (grown: identity blocks, so the same text at a realistic cost)" if report["grown"] else ""
    source = settings["replay"] or settings["prompts"] or settings["data"] or "the shipped ones"
    return (
        f"{settings['model']}, {model['parameters'] / 1e6:.1f} M parameters{grown}, {model['dtype']}, {model['forward']} "
        f"forward, {place(report)}. Acceptance and costs come from {first} prompts, the measured speed from {second} others "
        f"({source}; {settings['max_new_tokens']} tokens each, {settings['repeats']} repeats in turns, greedy, prefill "
        "included); brackets are 95 % intervals over prompts. Tokens a round: acceptance length on the prompts measured; plain "
        "decoding has 1.00, and no speed-up exceeds it. Modelled: from acceptance and costs alone, before the check was run, at "
        "the tokens a round of the prompts it comes from. Memory: the drafter's own weights. A verdict takes "
        f"{PROMPTS} prompts measured, two repeats, and a gain beyond what plain decoding shows against itself."
    )


def place(report: dict[str, Any]) -> str:
    """The accelerator, or the processor with its threads."""
    machine = report["machine"]
    if report["model"]["device"] == "cuda":
        return str(machine["accelerator"])
    return f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''} of {machine['processor']}"


def closing(report: dict[str, Any]) -> list[str]:
    """Memory, how good the prediction was, and what was left out."""
    memory, error = report["memory"], report["median_prediction_error"]
    out = [f"The model holds {megabytes(memory['weight_bytes'])} of weights and {megabytes(memory['key_bytes_per_token'])} of "
           f"keys and values for each token of text; the most this process held was {megabytes(memory['peak_bytes'])}.",
           *formats(report["model"])]
    if error is not None:
        out.append(f"The modelled figures were off by {error:.0%} (median over all).")
    out += [f"Plain decoding{f' with {rows} rows' if int(rows) > 1 else ''} came to {interval(plain['noise'])} of its own speed, "
            "even repeats against odd ones." for rows, plain in report["plain"].items() if plain["noise"]]
    out += [f"Left out: {s['drafter']}: {s['why']}" for s in report["skipped"]]
    out += [f"Note: {c['drafter']}: {failure}" for c in report["candidates"] for failure in c["failures"]]
    if report["dropped_prompts"]:
        out.append(f"{report['dropped_prompts']} prompts did not fit the context and were left out.")
    worse = [c for c in report["candidates"] if c["identical"] < 1]
    return out + [f"{c['drafter']}, budget {c['budget']}: {1 - c['identical']:.0%} of the texts differ from plain decoding's."
                  for c in worse]


def formats(model: dict[str, Any]) -> list[str]:
    """What a file's block types became; nothing for other models."""
    if not (found := model.get("formats")):
        return []
    each = [f"{kind} ({megabytes(f['file_bytes'])}) in {f['bits']} bits" for kind, f in found.items()]
    more = sum(f["bytes"] for f in found.values()) / sum(f["file_bytes"] for f in found.values()) - 1
    return [f"The file's blocks are held exactly: {', '.join(each)}; {more:.0%} more bytes than in the file. Activations are "
            f"{'rounded to int8' if model['activations'] == 'int8' else 'floats'}, the context is {model['context']:,} tokens."]


def show(report: dict[str, Any], console: Any = None) -> None:
    """Print it."""
    console = console or wide_console()
    for verdict in report["verdicts"]:
        console.print(verdict["sentence"], style="bold", highlight=False)
    for verdict in report["verdicts"]:
        if cells := list(rows(report, verdict["rows"], console.width < WIDE)):
            show_table(COLUMNS, cells, console, f"{verdict['rows']} rows together" if verdict["rows"] > 1 else None)
        for reason in verdict["reasons"]:
            console.print(f"- {reason}", highlight=False, markup=False)
        _settings(verdict["settings"], console)
    console.print()
    for line in [*closing(report), caption(report)]:
        console.print(line, highlight=False, markup=False, style="dim")


def _settings(settings: dict[str, str], console: Any) -> None:
    """What to type; lines are not broken, so that they can be copied."""
    if settings:
        console.print("\nWhat to type (elsewhere forwards cost something else, so measure there too):", highlight=False)
    for engine, line in settings.items():
        console.print(f"  {engine}", highlight=False, style="bold")
        console.print(f"    {line}", highlight=False, markup=False, soft_wrap=True)
