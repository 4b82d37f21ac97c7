"""`paceline chat`: talk to a model; every turn continues from the keys the last one left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import paceline
from paceline.cli._flags import flag
from paceline.cli._live import show
from paceline.cli._model import Decoding, ModelChoice, departure, open_model
from paceline.cli._output import check_writable, say, write_json
from paceline.core.detokenizer import without_special
from paceline.core.sampling import Sampling
from paceline.errors import PacelineError

__all__ = ["chat"]

LEAVE = {"/bye", "/exit", "/quit"}


@dataclass(frozen=True)
class Options:
    """What `paceline chat` may be told beside the model and the sampling."""

    system: str | None = flag(None, "A system message that opens the conversation.")
    keep_special: bool = flag(False, "Show special tokens, such as <|im_end|>, too.", "--keep-special")
    json: str | None = flag(None, "When the talk ends, write it to a file, or to the terminal with -.")


def chat(options: Options, model: ModelChoice, decoding: Decoding, sampling: Sampling) -> None:
    """Talk to a model in its chat template. An empty line is ignored; /bye or end of input (Ctrl-D) leaves."""
    from paceline.api import request

    check_writable(options.json)
    held, asked = decoding.settings(), decoding.options(sampling, special_tokens=options.keep_special)
    lm = open_model(model)
    messages = [{"role": "system", "content": options.system}] if options.system else []
    request(lm, [*messages, {"role": "user", "content": "?"}], asked)  # what cannot be had is said before the first question
    say(f"{model.name}, drafter {decoding.drafter}. /bye leaves.")
    try:
        _talk(lm, messages, held, asked)
    finally:  # also when it is interrupted or fails: what was said is not lost
        if options.json:
            write_json({"model": lm.describe(), "drafter": decoding.drafter, "messages": messages}, options.json)


def _talk(lm: paceline.LM, messages: list[dict[str, Any]], held: dict[str, Any], options: paceline.RequestOptions) -> None:
    """Ask, answer, repeat; `messages` grows by two a turn. A turn that the model cannot take is dropped, and the talk goes on.

    held: what stays for the whole talk, with its engine. options: what each turn is asked with.
    """
    engine = paceline.Engine(lm, **held, slots=1, max_cached=1)  # the last turn's keys stay, so only new text is prefilled
    while (line := _ask()) is not None:
        if not line:
            continue
        asked = {"role": "user", "content": line}
        try:
            generation = show(paceline.stream(lm, [*messages, asked], engine=engine, options=options))
        except PacelineError as error:  # too long, or beyond where the rotary embedding changes
            say(str(error))
            continue
        messages += [asked, {"role": "assistant", "content": without_special(lm.tokenizer, generation.text)}]
        if departed := departure(held["rule"], [generation]):
            say(departed)


def _ask() -> str | None:
    try:
        line = input("> ").strip()
    except EOFError:
        print()
        return None
    except KeyboardInterrupt:
        print()
        raise
    return None if line in LEAVE else line
