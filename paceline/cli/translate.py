"""`paceline translate`: texts, files or a pipe into another language, line by line."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from paceline.cli._flags import argument, flag
from paceline.cli._output import check_writable, say, write_json
from paceline.cli._streams import given_text
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
    rerank: str | None = flag(None, "A model that writes token by token, such as MODEL/teacher, to choose among a one-pass "
                              "model's translations of all lengths.")
    reference: str | None = flag(None, "A file with the right translations: BLEU and chrF are told, with intervals.")
    json: str | None = flag(None, "Write sources, translations and scores to a file, or to the terminal with -.")


def translate(options: Options) -> None:
    """Translate: `paceline translate --model translator/ < text.en`; at a terminal it answers line by line, Ctrl-D leaves."""
    from paceline.models.translation.translator import Asked, Translator
    from paceline.train.translation_metrics import scored

    check_writable(options.json)
    talking = options.text == "-" and sys.stdin.isatty()
    if talking and (options.json or options.reference):
        raise RequestError("At a terminal each line is answered by itself: name a text or a file for --json and --reference.")
    asked = Asked(5 if options.beam is None else options.beam, options.iterations, options.collapse, options.order)
    with waiting(f"opening {options.model}"):
        held = Translator.load(options.model)
        asked = replace(asked, rerank=Translator.load(options.rerank)) if options.rerank else asked
        drafted = with_drafts(held, options)
    if talking:
        talk(held, asked, drafted)
        return
    texts = lines_of(given_text(options.text))
    right = references(options.reference, len(texts))
    with waiting("translating"):
        found = held.translate(texts, asked, drafted)
    figures = scored([one.text for one in found], right) if right else {}
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
    if options.rerank:
        raise RequestError("Drafts are of one greedy translation, with nothing to rerank: leave --rerank out, or --drafter.")
    if options.beam not in (None, 1):
        raise RequestError(f"Drafts are of greedy translation: leave --beam {options.beam} out, or --drafter.")
    if options.iterations != 1:
        raise RequestError(f"Drafts are of greedy translation: leave --iterations {options.iterations} out, or --drafter.")
    from paceline.engine.translating import Drafted

    return Drafted(held, options.drafter, options.order)


def talk(held: Translator, asked: Asked, drafted: Drafted | None) -> None:
    for line in sys.stdin:
        print(held.translate([line.strip()], asked, drafted)[0].text, flush=True)


def lines_of(text: str) -> list[str]:
    """Empty ones, too."""
    return text.removesuffix("\n").split("\n")


def references(file: str | None, count: int) -> list[str]:
    """The right translations, so many; none without a file. Raises RequestError for a file of another length, ModelError where
    nothing can be scored.
    """
    if file is None:
        return []
    from paceline.train.translation_metrics import check_scoring

    check_scoring()
    right = lines_of(read_text(Path(file)))
    if len(right) != count:
        raise RequestError(f"Expected as many lines in {file} as there are texts, {count}; found {len(right)}.")
    return right
