"""`paceline classify`: labels for texts, and the words that made each text get its label."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import typer

from paceline.cli._flags import argument, flag
from paceline.cli._output import check_writable, write_json, write_text
from paceline.cli._streams import given_text
from paceline.errors import DataError

__all__ = ["classify"]


@dataclass(frozen=True)
class Options:
    """What `paceline classify` may be told."""

    text: str = argument("-", "A text, a file with a text in each line, or - for such lines from standard input.", "[TEXT]")
    model: str = flag(..., "The folder that `paceline train classify` made.")
    explain: bool = flag(False, "Show each text with the words that spoke for its label, and against it.", "--explain")
    labels: int = flag(1, "With --explain or --html: so many labels of each text, the likeliest first.")
    html: str | None = flag(None, "Write the same as a page, complete in one file.")
    json: str | None = flag(None, "Write labels, probabilities and, with --explain, words to a file, or to the terminal with -.")


def classify(options: Options) -> None:
    """Tell which label a text gets, and why: `paceline classify --model classifier/ --explain "…"`."""
    for name in ("json", "html"):
        check_writable(getattr(options, name), f"--{name}")
    if options.labels < 1:
        raise typer.BadParameter(f"--labels must be at least 1; found {options.labels}.")
    texts = texts_of(options.text)
    from paceline.models.exam.classifier import Classifier

    held = Classifier.load(options.model)
    guesses = held.classify(texts)
    found = held.explain(texts, options.labels) if options.explain or options.html else []
    if options.html:
        from paceline.report.explained import page

        write_text(page(found, held.labels), options.html, "--html")
    chosen = [held.chosen(some) for some in guesses]
    if options.json:
        write_json([record(*row) for row in zip(texts, chosen, found or [[]] * len(texts), strict=True)], options.json)
    if options.json == "-":
        return
    if options.explain:
        from paceline.bench.report import wide_console
        from paceline.cli._evidence import show

        show(found, wide_console())
    else:
        for text, some in zip(texts, chosen, strict=True):
            print(", ".join(f"{guess.label} {guess.probability:.2f}" for guess in some) or "no label", text, sep="\t")


def texts_of(given: str) -> list[str]:
    """The text itself, or the lines of a file or of standard input that are not blank. Raises DataError where there are none."""
    text = given_text(given)
    text = " ".join(text.split()) if text is given else text  # an argument is one text
    lines = [line for line in text.split("\n") if line.strip()]
    if not lines:
        raise DataError("Expected a text to classify, found none.")
    return lines


def record(text: str, chosen: list[Any], told: Any) -> dict[str, Any]:
    """One text's results as JSON."""
    found: dict[str, Any] = {"text": text, "labels": [guess._asdict() for guess in chosen]}
    return found | ({"why": [asdict(one) | {"parts": [part._asdict() for part in one.parts]} for one in told]} if told else {})
