"""`paceline bench`: measure drafters against plain decoding and the stock library, interleaved, with intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import typer

from paceline.cli._flags import flag
from paceline.cli._model import MODEL, chosen
from paceline.cli._output import check_writable, progress, say, write_json, write_text
from paceline.core.flags import flag_of, settings
from paceline.files import read_text

__all__ = ["bench"]


@dataclass(frozen=True)
class Options:
    """What `paceline bench` may be told: the fields of `Config`, `Curve` and `Quality` in `bench/`, and where results go."""

    model: str | None = flag(None, f"Target: {MODEL}")
    drafter: list[str] = flag([], "Drafter spec to measure; may be given again. Default: those made for the model.")
    task: list[str] = flag([], "code, math, tools, prose (shipped), copying, incompressible (made here), spec_bench or one of "
                               "its groups, such as qa (both need --data); may be given again.")
    prompts: str | None = flag(None, 'JSON-lines file of {"prompt": …} or Spec-Bench records, instead of tasks.')
    data: str | None = flag(None, "Folder of public data sets to draw held-out prompts from, instead of the shipped ones.")
    context: int | None = flag(None, "Prompts of so many tokens instead: needle, completion and document, made here.")
    chat: bool = flag(False, "Ask plain texts in a conversation, too.", "--chat")
    against: list[str] = flag([], "transformers, llama_cpp or openvino, or one of their modes (transformers/assisted); may be "
                                  "given again.")
    requantise: str | None = flag(None, "Bring a GGUF file's linear weights to q4_0, q4_1 or q8_0 first, for all.")
    activations: str | None = flag(None, "int8 or float, of quantised weights.")
    dtype: str | None = flag(None, "float32, bfloat16 or float16.")
    forward: str = flag("auto", "auto, fused, lean or stock.")
    packed: bool = flag(True, "Packed linears on our side, where measured faster.", "--packed/--no-packed")
    exact: bool | None = flag(None, "Bit-exact mode, where this machine can promise it.", "--exact/--no-exact")
    selector: str | None = flag(None, "Also measure our methods with layers that keep few keys, like lighttransfer:keep=0.5.")
    budget: int | None = flag(None, "Most drafted tokens scored in one round.")
    rows: int = flag(1, "Prompts decoded together.")
    max_new_tokens: int | None = flag(None, "New tokens per prompt; 128 if not given.")
    repeats: int | None = flag(None, "Timed passes over all prompts; 3 if not given.")
    limit: int | None = flag(None, "Prompts per task.")
    grow: float | None = flag(None, "Grow the target to this many million parameters: same function, realistic cost.")
    threads: int | None = flag(None, "CPU threads; all cores if not given.")
    json: str | None = flag(None, "Write the full report to a file, or to the terminal with -.")
    inexact: bool = flag(False, "Also measure our methods without exact mode.", "--inexact")
    cold: bool = flag(False, "With --drafter auto: also measure it with nothing learned before each text.", "--cold")
    temperature: float = flag(0.0, "Sample at this temperature, ours reproducibly, so that they write the same; 0 = greedy.")
    top_p: float = flag(1.0, "With --temperature: of the likeliest tokens that hold this much probability.")
    device: str | None = flag(None, "cpu or cuda.")
    curve: bool = flag(False, "Time single forwards of 1 to 16 tokens, and prefills, beside --against llama_cpp.", "--curve")
    shape: str | None = flag(None, "With --curve: a file of random weights, Q4_K_M, of 1.5b, 3b or 8b parameters.")
    behind: list[int] = flag([], "With --curve: tokens that stand before; may be given again. Default: 64, 500, 2000, 8000.")
    prefill: list[int] = flag([], "With --curve: tokens of a prompt; may be given again. Default: 512, 2048.")
    quality: bool = flag(False, "Compare int8 activations with float ones on the prompts' texts, beside --against llama_cpp; "
                                "and answers, with --against transformers.", "--quality")
    suite: str | None = flag(None, "Run all of smol, smol_quick, zoo or gpu, with the --data and --threads given, and no more "
                                   "than --limit, --max-new-tokens and --repeats.")
    only: list[str] = flag([], "With --suite: only this benchmark of it; may be given again.")
    folder: str = flag("benchmarks", "With --suite: where the reports go.")
    replay: str | None = flag(None, "Replay recorded prompts and outputs from a JSON-lines file; needs no model.")
    tokenizer: str | None = flag(None, "With --replay: whose tokens, zoo:NAME, a hub id or a folder; zoo:tiny if not given.")
    token_cost: float | None = flag(None, "With --replay: assumed cost of one more token in a forward, as a share of it; 0.05.")


def bench(options: Options) -> None:
    """Measure. All methods run in one process on the same weights, in turns; every speed-up carries a bootstrap
    interval.
    """
    check_writable(options.json)
    if options.replay:
        _replay(options)
        return
    if options.tokenizer is not None or options.token_cost is not None:
        raise typer.BadParameter("--tokenizer and --token-cost belong to --replay FILE; a benchmark takes its model's.")
    if options.suite:
        _suite(options)
        return
    if options.curve:
        _curve(options)
        return
    if options.quality:
        _quality(options)
        return
    from paceline.bench.report import show
    from paceline.bench.run import Config, run

    model = chosen(options.model)
    report = progress(run, settings(Config, options, model=model, drafters=options.drafter or default_drafters(model)))
    _tell(report, options, show)


def _tell(report: dict[str, Any], options: Options, show: Callable[[dict[str, Any]], None]) -> None:
    if options.json:
        write_json(report, options.json)
    if options.json != "-":
        show(report)


def _curve(options: Options) -> None:
    from paceline.bench.curve import Curve, trace
    from paceline.bench.curve_table import show

    given = {name: tuple(value) for name in ("behind", "prefill") if (value := getattr(options, name))}
    usual = {name: getattr(Curve(), name) for name in ("behind", "prefill")}
    _tell(progress(trace, settings(Curve, options, model=chosen(options.model), **usual | given)), options, show)


def _quality(options: Options) -> None:
    from paceline.bench.quality import Quality, compare
    from paceline.bench.quality_table import show

    _tell(progress(compare, settings(Quality, options, model=chosen(options.model))), options, show)


def default_drafters(model: str) -> list[str]:
    """Prompt lookup, which fits every model, and the draft model trained for this one where there is one."""
    from paceline.bench.specs import PAIR

    return [PAIR, "ngram"] if model == "zoo:tiny" else ["ngram"]


RESIZED = ("data", "threads", "limit", "max_new_tokens", "repeats")  # what a suite's benchmarks may be told


def _suite(options: Options) -> None:
    """Run a suite, then render the page from all reports beside it, and the table of the README above."""
    from paceline.bench.page import render, with_front
    from paceline.bench.suite import run_suite

    folder = Path(options.folder)
    instead = {name: value for name in RESIZED if (value := getattr(options, name)) is not None}
    reports = run_suite(str(options.suite), tuple(options.only), instead, folder, say)
    write_text(render(reports), str(folder / "README.md"), "--folder")
    above = folder.resolve().parent / "README.md"
    if above.is_file() and (made := with_front(before := read_text(above), reports)) != before:
        write_text(made, str(above), "--folder")


def _replay(options: Options) -> None:
    """Compare drafters on recorded texts."""
    from paceline.replay.replay import Config, replay
    from paceline.replay.report import show

    config = Config(options.replay or "", **_replayed(options))
    _tell(progress(replay, config), options, show)


REPLAY = {"replay", "tokenizer", "token_cost", "drafter", "budget", "limit", "json"}


def _replayed(options: Options) -> dict[str, Any]:
    """Settings of a replay, where they are given. Flags that ask for a model or for other prompts are bad usage."""
    given = {name for name, value in asdict(options).items() if value != getattr(Options(), name)}
    if extra := sorted(given - REPLAY):
        raise typer.BadParameter(f"--replay decodes recorded texts without a model; leave out {flag_of(extra[0])}.")
    replayed = {name: getattr(options, name) for name in given & {"tokenizer", "token_cost", "budget", "limit"}}
    return replayed | ({"drafters": tuple(options.drafter)} if options.drafter else {})
