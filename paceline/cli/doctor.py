"""`paceline doctor`: can speculative decoding help a model on this machine, with which drafter and settings?"""

from __future__ import annotations

from dataclasses import dataclass

from paceline.cli._flags import flag
from paceline.cli._model import MODEL, chosen
from paceline.cli._output import check_writable, progress, write_json, write_text
from paceline.core.flags import settings

__all__ = ["doctor"]


@dataclass(frozen=True)
class Options:
    """What `paceline doctor` may be told; the fields of `paceline.doctor.doctor.Config`, plus where results go."""

    model: str | None = flag(None, f"The model to examine: {MODEL}")
    prompts: str | None = flag(None, 'JSON-lines file of {"prompt": …} or Spec-Bench records, instead of the shipped prompts.')
    data: str | None = flag(None, "Folder of public data sets to draw prompts from.")
    replay: str | None = flag(None, "Recorded prompts and outputs: drafters that need no model are judged on these outputs.")
    drafter: list[str] = flag([], "A further candidate, a drafter spec; may be given again.")
    rows: list[int] = flag([1], "Prompts decoded together; may be given again, each number is examined.")
    budget: list[int] = flag([], "Most drafted tokens scored in a round; may be given again. Default: 16, and 4 or 32.")
    limit: int | None = flag(None, "Prompts of each kind of text, half of them for the check. Default: 6, of one kind 24; more "
                                   "for many rows.")
    max_new_tokens: int = flag(96, "New tokens per prompt.")
    repeats: int = flag(3, "Timed passes over the prompts.")
    dtype: str | None = flag(None, "float32, bfloat16 or float16.")
    forward: str = flag("auto", "auto, fused, lean or stock.")
    device: str | None = flag(None, "cpu or cuda.")
    grow: float | None = flag(None, "Grow the target to this many million parameters: same function, realistic cost.")
    threads: int | None = flag(None, "CPU threads; as `paceline generate` has them if not given.")
    json: str | None = flag(None, "Write everything to a file, or to the terminal with -.")
    html: str | None = flag(None, "Write a page with plots, complete in one file.")


def doctor(options: Options) -> None:
    """Measure costs and acceptance on this machine, predict from them the speed-up of every drafter that suits the model, check
    that by running, and say what to do.
    """
    for name in ("json", "html"):
        check_writable(getattr(options, name), f"--{name}")
    from paceline.doctor.doctor import Config, examine

    report = progress(examine, settings(Config, options, model=chosen(options.model)))
    if options.json:
        write_json(report, options.json)
    if options.html:
        from paceline.doctor.page import page

        write_text(page(report), options.html, "--html")
    if options.json != "-":  # last: nothing that befalls the terminal takes a file with it
        from paceline.doctor.report import show

        show(report)


