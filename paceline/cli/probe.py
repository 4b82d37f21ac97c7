"""`paceline probe`: what a model's attention does, head by head, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass

from paceline.cli._flags import argument, flag
from paceline.cli._model import MODEL, chosen
from paceline.cli._output import check_writable, write_json, write_text
from paceline.core.flags import settings

__all__ = ["probe"]


@dataclass(frozen=True)
class Options:
    """What `paceline probe` may be told; the fields of `paceline.report.look.Config`, plus where results go."""

    probes: list[str] = argument([], "Probe specs, like sinks or slash:lags=[1,2]; all there are if none is given.", "[PROBE]...")
    model: str | None = flag(None, f"The model to look at: {MODEL}")
    diff: tuple[str, str] | None = flag(None, "Two models instead, A and B: what changed from A to B, beyond chance.")
    prompts: str | None = flag(None, 'JSON-lines file of {"prompt": …} or Spec-Bench records, instead of the shipped texts.')
    length: int = flag(512, "Tokens of a text; longer ones are cut, shorter ones left out.")
    texts: int = flag(16, "Texts to read, at most.")
    random_tokens: bool = flag(False, "Random tokens in place of each text: what stays, the weights do.", "--random-tokens")
    json: str | None = flag(None, "Write all figures to a file, or to the terminal with -.")
    html: str | None = flag(None, "Write a page with the head atlas and all tables, complete in one file.")


def probe(options: Options) -> None:
    """Look inside a model: which heads sink, look back by a fixed distance or copy, which layers are lazy, and what to do about
    it.
    """
    for name in ("json", "html"):
        check_writable(getattr(options, name), f"--{name}")
    from paceline.report.diff import Diff
    from paceline.report.look import Config, look
    from paceline.report.page import page
    from paceline.report.show import show
    from paceline.report.view import View

    looks = [look(settings(Config, options, model=name)) for name in options.diff or (chosen(options.model),)]
    view = Diff(*looks) if options.diff else View(*looks)
    if options.json:
        write_json([seen.to_json() for seen in looks] if options.diff else looks[0].to_json(), options.json)
    if options.html:
        write_text(page(view), options.html, "--html")
    if options.json != "-":  # last: nothing that befalls the terminal takes a file with it
        show(view)
