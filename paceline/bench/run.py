"""One benchmark from its settings to its figures: load, gather prompts, measure, summarise. Knows no terminal.

Rivals get their own stock copy, loaded afresh from the same files and grown in the same way where the target is.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import Any

import paceline
from paceline.bench.best import best_fixed
from paceline.bench.config import Config
from paceline.bench.long_prompts import LONG_KINDS, long_prompts
from paceline.bench.machine import describe, pin_threads, reading
from paceline.bench.made_prompts import MADE_KINDS, made_prompts
from paceline.bench.methods import Method, OneByOne, Paceline
from paceline.bench.noise import against_itself
from paceline.bench.rivals import Terms, rivals
from paceline.bench.summary import PLAIN, summarise
from paceline.bench.tasks import KINDS, OF_DATA, Prompt, asked, builtin, encode, from_data, read_prompts
from paceline.bench.timing import Group, Runs, measure
from paceline.convert.gguf import convert
from paceline.engine.auto import AUTO, limited
from paceline.errors import RequestError, did_you_mean
from paceline.lm import LM
from paceline.lm.grow import grow
from paceline.lm.load import resolve
from paceline.lm.sources.gguf import gguf_in

__all__ = ["Config", "files", "gather", "prompts_of", "run", "target"]

TASKS = (*KINDS, *MADE_KINDS, *OF_DATA)


def run(config: Config, tick: Callable[[int], None] = lambda calls: None) -> dict[str, Any]:
    """Run a benchmark and return its report. `tick(total)` is called after each timed call."""
    pin_threads(config.threads)
    prompts = prompts_of(config)  # before the weights: a mistake in them should not cost a load
    with files(config.model, config.requantise) as place:
        return _measured(config, place, prompts, tick)


def _measured(config: Config, place: str, prompts: dict[str, list[Prompt]], tick: Callable[[int], None]) -> dict[str, Any]:
    lm = target(config, place)
    methods = _methods(config, lm, place)
    groups, dropped = gather(config, lm, methods[0], prompts)
    total = len(methods) * len(groups) * config.repeats
    runs = measure(methods, groups, config.max_new_tokens, config.repeats, lambda: tick(total))
    what = {m.name: m.describe() for m in methods}
    fixed = [name for name, spec in _specs(config).items() if spec != AUTO]
    if AUTO in config.drafters and config.repeats > 1 and len(fixed) > 1:
        for name, (found, chosen) in best_fixed(runs, fixed).items():
            runs[name], what[name] = found, {"of": fixed, "chosen": chosen}
    return _report(config, lm, groups, runs, what) | {"dropped_prompts": dropped}


@contextmanager
def files(model: str, requantised: str | None = None) -> Iterator[str]:
    """Where the weights are: the model's own files, or a file of them in another format, which is gone afterwards."""
    if requantised is None:
        yield model
        return
    path = gguf_in(Path(resolve(model)))
    if path is None:
        raise RequestError(f"Only a GGUF file can be requantised; {model} is none.")
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / f"{path.stem}.{requantised}.gguf"
        convert(str(path), written, requantised)
        yield str(written)


def target(config: Config, place: str | None = None) -> LM:
    """The model under test; grown, where that is asked. place: where its weights are, if not at the model's name."""
    options: dict[str, Any] = {"forward": config.forward, "packed": config.packed}
    if config.activations:
        options["activations"] = config.activations
    if config.grow is None:
        lm = paceline.load(place or config.model, dtype=config.dtype, device=config.device, **options)
    else:
        small = paceline.load(config.model, dtype=config.dtype, forward="stock", packed=False)
        grown = grow(small.model, config.grow * 1e6)
        lm = paceline.load(grown.to(config.device) if config.device else grown, tokenizer=small.tokenizer, **options)
    lm.name = config.model
    return lm


def _specs(config: Config) -> dict[str, str]:
    return {PLAIN: "none"} | {f"paceline/{spec}": spec for spec in config.drafters if spec != "none"}


def _methods(config: Config, lm: LM, place: str) -> list[Method]:
    specs, sampled = _specs(config), dict[str, Any]()
    if config.temperature:
        sampled = {"sampling": config.sampling, "reproducible": True}
    settings = {spec: {"controller": limited(spec, config.budget), "exact": config.exact, **sampled} for spec in specs.values()}
    ours: list[Method] = [Paceline(name, lm, spec, settings[spec]) for name, spec in specs.items()]
    if config.inexact:
        ours += [Paceline(f"{name}, inexact", lm, spec, settings[spec] | {"exact": False}) for name, spec in specs.items()]
    if config.selector:
        cut = {"selector": config.selector}
        ours += [Paceline(f"{name}, {config.selector}", lm, spec, settings[spec] | cut) for name, spec in specs.items()]
    if config.cold:
        ours.append(Paceline(f"paceline/{AUTO}, cold", lm, AUTO, settings[AUTO], cold=True))
    if config.rows > 1:
        ours += [OneByOne(method) for method in ours]
    return ours + rivals(config.against, Terms(resolve(place), lm, config.grow, config.drafters, config.sampling))


def gather(config: Config, lm: LM, plain: Method, wanted: dict[str, list[Prompt]]) -> tuple[list[Group], int]:
    """Encoded prompts in groups of `rows`, the kinds of text in turns, so that what learns from one text meets another kind next;
    and how many did not fit the context together with their answer.
    """
    if lm.tokenizer is None:
        raise RequestError(f"Benchmarks need a tokenizer, and {config.model} has none beside its weights.")
    kinds, dropped = list[list[Group]](), 0
    for kind, prompts in wanted.items():
        encoded = [ids for prompt in prompts for ids in turns(prompt, lm, plain, config.max_new_tokens)]
        fitting = [ids for ids in encoded if len(ids) + config.max_new_tokens <= lm.context]
        dropped += len(encoded) - len(fitting)
        kept = fitting[: config.limit]
        kinds.append([Group(kind, kept[i : i + config.rows]) for i in range(0, len(kept), config.rows)])
    groups = [group for turn in zip_longest(*kinds) for group in turn if group is not None]
    if not groups:
        raise RequestError(f"No prompt fits: the context is {lm.context} tokens, answers take {config.max_new_tokens} of them.")
    return groups, dropped


def prompts_of(config: Config) -> dict[str, list[Prompt]]:
    """Kind of text -> its prompts, from the file, the data folder or the shipped sets."""
    found = _found(config)
    return {kind: list(map(asked, prompts)) for kind, prompts in found.items()} if config.chat else found


def _found(config: Config) -> dict[str, list[Prompt]]:
    if config.prompts:
        found = read_prompts(Path(config.prompts))
        if not found:
            raise RequestError(f"{config.prompts} holds no prompts.")
        return {kind: [p for p in found if p.kind == kind] for kind in dict.fromkeys(p.kind for p in found)}
    if config.context:
        return {task: long_prompts(task, config.context) for task in config.tasks or LONG_KINDS}
    tasks = config.tasks or KINDS
    return {task: _spread(_read(task, config.data), config.limit) for task in tasks}


def _read(task: str, data: str | None) -> list[Prompt]:
    if task not in TASKS:
        raise RequestError(f"There is no task {task!r}.{did_you_mean(task, TASKS)}")
    if task in MADE_KINDS:
        return made_prompts(task)
    return from_data(task, Path(data)) if data else builtin(task)


def _spread(prompts: list[Prompt], limit: int | None) -> list[Prompt]:
    """Prompts from all over a set when only some are wanted, as sets are often sorted; half as many again as wanted."""
    wanted = len(prompts) if limit is None else min(len(prompts), limit + limit // 2 + 1)
    return [prompts[i * len(prompts) // wanted] for i in range(wanted)]


def turns(prompt: Prompt, lm: LM, plain: Method, max_new_tokens: int) -> list[list[int]]:
    """Ids of every turn of a prompt; a later turn follows plain decoding's own answers, as in Spec-Bench."""
    encoded, answers = [encode(lm.tokenizer, prompt)], list[str]()
    for _ in prompt.turns[1:]:
        if len(encoded[-1]) + max_new_tokens > lm.context:
            break
        answer = plain.run([encoded[-1]], max_new_tokens).tokens[0]
        answers.append(lm.tokenizer.decode(answer, skip_special_tokens=True))
        encoded.append(encode(lm.tokenizer, prompt, tuple(answers)))
    return encoded


def _report(config: Config, lm: LM, groups: list[Group], runs: dict[str, Runs],
            what: dict[str, dict[str, Any]]) -> dict[str, Any]:
    figures = summarise(runs, groups, lambda prompt, tokens, index: margin(lm, prompt, tokens, index), not config.temperature)
    described = {name: {"what": what[name], **figures[name]} for name in runs}
    report: dict[str, Any] = {
        "machine": describe(), "model": lm.describe(), "settings": asdict(config), "node_budget": config.budget,
        "grown": config.grow is not None, "prompts": sum(len(g.prompts) for g in groups), "methods": described,
        "noise": against_itself(runs[PLAIN]),
    }  # fmt: skip
    if config.rows == 1 and lm.device.type == "cpu":
        report["reading"] = reading(lm.dtype, lm.weight_bytes, figures[PLAIN])
    return report


def margin(lm: LM, prompt: list[int], tokens: list[int], index: int) -> float:
    """Gap between the two likeliest tokens' logits after the common prefix, by plain decoding itself."""

    asked = paceline.Sampling(logprobs=2)
    [answer] = paceline.generate(lm, [[*prompt, *tokens[:index]]], sampling=asked, max_new_tokens=1)
    assert answer.logprobs is not None
    first, second = (logprob for _, logprob in answer.logprobs[0].top[:2])
    return first - second
