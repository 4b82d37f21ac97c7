"""`paceline generate`: write text, drafted, and show what was gained."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

import paceline
from paceline.cli._flags import argument, flag
from paceline.cli._grammar import Structure
from paceline.cli._live import CONTROL, show
from paceline.cli._model import Decoding, ModelChoice, as_prompt, departure, open_model
from paceline.cli._output import check_writable, on_terminal, say, write_json
from paceline.cli._streams import read_standard_input
from paceline.core.sampling import Sampling
from paceline.files import read_json
from paceline.toolcalls.schema import listed_tools, read_tools

__all__ = ["generate"]


@dataclass(frozen=True)
class Options:
    """What `paceline generate` may be told beside the model and the sampling."""

    prompt: str = argument(..., "The text to continue; - reads it from standard input.", "PROMPT")
    chat: bool = flag(False, "Put the prompt into the model's chat template, as a user's message.", "--chat")
    tools: str | None = flag(None, "JSON file of functions that may be called (OpenAI's tools, an MCP list); implies --chat.")
    describe_tools: bool = flag(True, "Tell tools in words where the model's chat template knows none; else fail.",
                                "--describe-tools/--no-describe-tools")
    tenant: str = flag("", "Whose request it is: drafters keep each tenant's past texts apart.")
    guidance: float = flag(1.0, "Scale of classifier-free guidance: 1 is none; above 1 follows the prompt more closely.")
    negative: str | None = flag(None, "With --guidance: the prompt to move away from.")
    keep_special: bool = flag(False, "Leave special tokens, such as <|im_end|>, in the text.", "--keep-special")
    n: int = flag(1, "How many texts to write.")
    compare: bool = flag(False, "Also decode plainly, in turns with the drafted run, and show both.", "--compare")
    repeats: int = flag(3, "With --compare: how often each is timed.")
    json: str | None = flag(None, "Write texts, tokens and stats to a file, or to the terminal with -.")


def generate(options: Options, model: ModelChoice, decoding: Decoding, sampling: Sampling, structure: Structure) -> None:
    """Continue a prompt. Accepted drafted tokens are tinted; the text is what plain decoding would have written, unless --rule
    relaxes it: then what that spent is told.
    """
    check_writable(options.json)
    if options.n < 1 or options.repeats < 1:
        raise typer.BadParameter("--n and --repeats must be at least 1.")
    held, tools = decoding.settings(), read_json_tools(options.tools)
    asked = decoding.options(dataclasses.replace(sampling, grammar=structure.grammar()), tools=tools, tenant=options.tenant,
                             describe_tools=options.describe_tools, guidance=options.guidance, negative=options.negative,
                             special_tokens=options.keep_special)
    lm = open_model(model)
    prompt = as_prompt(read_standard_input() if options.prompt == "-" else options.prompt, options.chat or bool(tools))
    generations = _write(lm, prompt, held | {"options": asked}, options)
    departed = departure(decoding.rule, generations)
    report: dict[str, Any] = {
        "model": lm.describe(), "drafter": decoding.drafter, "rule": decoding.rule, "lossless": not departed,
        "generations": [_record(g) for g in generations],
    }  # fmt: skip
    if departed:
        say(departed)
    if options.compare:
        from paceline.bench.compare import compare

        report["comparison"] = compare(lm, prompt, held, asked, options.repeats)
    if options.json:
        write_json(report, options.json)
    if options.compare:
        _table(report["comparison"])
    elif on_terminal() and options.json != "-":
        _summary(generations)


def _write(lm: paceline.LM, prompt: Any, settings: dict[str, Any], options: Options) -> list[paceline.Generation]:
    """One streamed text, or several at once; nothing is printed when the JSON goes to the terminal."""
    if options.n == 1 and options.json != "-":
        opening = prompt if isinstance(prompt, str) else ""
        return [show(paceline.stream(lm, prompt, **settings), opening)]
    generations = paceline.generate(lm, [prompt], n=options.n, **settings)
    if options.json != "-":
        texts = [g.text.translate(CONTROL) if on_terminal() else g.text for g in generations]
        print(f"\n{'-' * 20}\n".join(texts))
    return generations


def read_json_tools(path: str | None) -> list[dict[str, Any]]:
    """The functions in a JSON file, as they stand there. Raises DataError for what is none."""
    if path is None:
        return []
    found = listed_tools(read_json(Path(path)))
    read_tools(found)
    return found


def _record(generation: paceline.Generation) -> dict[str, Any]:
    record = dataclasses.asdict(generation)
    derived = ("acceptance_length", "accept_per_position", "tokens_per_second")
    record["stats"] |= {name: getattr(generation.stats, name) for name in derived}
    return record


def _summary(generations: list[paceline.Generation]) -> None:
    tokens = sum(g.stats.new_tokens for g in generations)
    rounds = sum(g.stats.rounds for g in generations)
    seconds = sum(g.stats.total_seconds for g in generations)
    say(f"{tokens} tokens, {rounds} target forwards, acceptance length {tokens / max(rounds, 1):.2f}, {seconds:.2f} s")
    if told := sources_told([g.stats.sources for g in generations]):
        say(f"accepted of drafted: {told}")
    for failure in dict.fromkeys(f for g in generations for f in g.stats.failures):
        say(f"note: {failure}")


def sources_told(sources: list[dict[str, Any]]) -> str:
    """What each source of drafts gave, the most useful first; nothing where there is only one."""
    whole: dict[str, list[int]] = {}
    for name, (drafted, accepted) in ((n, pair) for each in sources for n, pair in each.items()):
        pair = whole.setdefault(name, [0, 0])
        whole[name] = [pair[0] + drafted, pair[1] + accepted]
    ranked = sorted(whole.items(), key=lambda item: -item[1][1])
    return ", ".join(f"{name} {accepted}/{drafted}" for name, (drafted, accepted) in ranked) if len(ranked) > 1 else ""


def _table(comparison: dict[str, Any]) -> None:
    """Both runs side by side, on stderr so that piped text stays text."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from paceline.bench.report import NOISY, wide_console

    console, table = wide_console(stderr=True), Table(box=SIMPLE_HEAD)
    for column in (
        "",
        "tokens/s",
        "speed-up",
        "acceptance length",
        "forwards",
        "prefill",
        "draft",
        "verify",
        "commit + host",
    ):
        table.add_column(column, justify="left" if not column else "right")
    for name, row in comparison["methods"].items():
        s = row["seconds"]
        times = (s["prefill"], s["draft"], s["verify"], s["commit"] + s["host"])
        table.add_row(
            name, f"{row['tokens_per_second']:.0f}", NOISY if row["above_acceptance"] else f"{row['speedup']:.2f}x",
            f"{row['acceptance_length']:.2f}", str(row["target_forwards"]), *(f"{1000 * t:.0f} ms" for t in times),
        )  # fmt: skip
    console.print(table)
    if told := sources_told([comparison["methods"]["drafted"]["sources"]]):
        console.print(f"Accepted of drafted: {told}.", highlight=False)
    same = "The texts are identical." if comparison["identical"] else "THE TEXTS DIFFER."
    if not comparison["lossless"]:
        same = "Sampled texts: the drafted run departs from the plain law by what it spent."
    elif not comparison["greedy"]:
        same = "Sampled texts: each run follows the same law." if not comparison["identical"] else same
    tint = " Green: drafted and accepted." if on_terminal() else ""
    console.print(f"{same} {comparison['setting']}{tint}", highlight=False)
