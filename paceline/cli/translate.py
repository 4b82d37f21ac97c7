"""`paceline translate`: texts, files or a pipe into another language, line by line."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from paceline.cli._flags import argument, flag
from paceline.cli._output import check_writable, say, write_json
from paceline.cli._streams import read_standard_input
from paceline.core.progress import waiting
from paceline.errors import RequestError
from paceline.files import read_text

if TYPE_CHECKING:
    from paceline.engine.translating import Drafted
    from paceline.models.translation.translator import Asked, Translator

__all__ = ["translate"]


@dataclass(frozen=True)
class Options:
    """What `paceline translate` may be told."""

    text: str = argument("-", "A text, a file, or - for standard input; each line is translated by itself.", "[TEXT]")
    model: str = flag(..., "The folder that `paceline train translate` made.")
    beam: int | None = flag(None, "Lengths that a one-pass model tries, or translations that another follows; 1 = greedy. [5]")
    drafter: str | None = flag(None, "Translate greedily with drafts, such as nat:model=FOLDER of a one-pass model.")
    iterations: int = flag(1, "Passes of a one-pass model; from 2 on it writes its least likely words anew.")
    collapse: bool = flag(False, "Write a word once that stands twice in a row.", "--collapse")
    order: int | None = flag(None, "Tokens that a Markov model looks back, 0 = all, where it was trained for several orders.")
    reference: str | None = flag(None, "A file with the right translations: BLEU and chrF are told, with intervals.")
    json: str | None = flag(None, "Write sources, translations and scores to a file, or to the terminal with -.")


def translate(options: Options) -> None:
    """Translate: `paceline translate --model translator/ < text.en`; at a terminal it answers line by line, Ctrl-D leaves."""
    from paceline.models.translation.translator import Asked, Translator

    check_writable(options.json)
    asked = Asked(5 if options.beam is None else options.beam, options.iterations, options.collapse, options.order)
    with waiting(f"opening {options.model}"):
        held = Translator.load(options.model)
        drafted = with_drafts(held, options)
    if options.text == "-" and sys.stdin.isatty():
        talk(held, asked, drafted)
        return
    with waiting("translating"):
        found = held.translate(lines_of(options.text), asked, drafted)
    figures = compared([one.text for one in found], options.reference)
    if options.json:
        rows = [{"source": one.source, "translation": one.text, "score": one.score} for one in found]
        write_json({"translations": rows, **figures}, options.json)
    if options.json != "-":
        print("\n".join(one.text for one in found))
    if drafted is not None:
        say(f"acceptance length {drafted.acceptance_length:.2f}")
    if figures:
        say(", ".join(f"{name} {figures[name]} ± {figures[f'{name}_interval']}" for name in ("bleu", "chrf")))


def with_drafts(held: Translator, options: Options) -> Drafted | None:
    """The engine at work on this model, where a drafter is named. Raises RequestError for a beam, which nothing drafts."""
    if options.drafter is None:
        return None
    if options.beam not in (None, 1):
        raise RequestError(f"Drafts are of greedy translation: leave --beam {options.beam} out, or --drafter.")
    from paceline.engine.translating import Drafted

    return Drafted(held, options.drafter, options.order)


def talk(held: Translator, asked: Asked, drafted: Drafted | None) -> None:
    for line in sys.stdin:
        print(held.translate([line.strip()], asked, drafted)[0].text, flush=True)


def lines_of(given: str) -> list[str]:
    """The lines of a file or of standard input, empty ones too, or the text itself."""
    if given == "-":
        text = read_standard_input()
    else:
        text = read_text(Path(given)) if len(given) < 4096 and Path(given).is_file() else given
    return text.removesuffix("\n").split("\n")


def compared(texts: list[str], reference: str | None) -> dict[str, float]:
    """Figures against a file of references; none without one. Raises RequestError for a file of another length."""
    if reference is None:
        return {}
    from paceline.train.translation_metrics import scored

    right = lines_of(reference)
    if len(right) != len(texts):
        raise RequestError(f"Expected as many lines in {reference} as there are texts, {len(texts)}; found {len(right)}.")
    return scored(texts, right)
