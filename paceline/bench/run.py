"""One benchmark from its settings to its figures: load, gather prompts, measure, summarise. Knows no terminal.

Rivals get their own stock copy, loaded afresh from the same files and grown in the same way where the target is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import paceline
from paceline.bench.best import best_fixed
from paceline.bench.llama_cpp import LlamaCpp, forward_seconds
from paceline.bench.long_prompts import LONG_KINDS, long_prompts
from paceline.bench.machine import describe, pin_threads, reading
from paceline.bench.made_prompts import MADE_KINDS, made_prompts
from paceline.bench.methods import Method, OneByOne, Paceline
from paceline.bench.noise import against_itself
from paceline.bench.rivals import Weights, check_names, rivals
from paceline.bench.summary import PLAIN, summarise
from paceline.bench.tasks import KINDS, SPEC_BENCH, Prompt, builtin, encode, from_data, read_prompts
from paceline.bench.timing import Group, Runs, measure
from paceline.engine.auto import AUTO, check, limited
from paceline.errors import RequestError, did_you_mean
from paceline.lm import LM
from paceline.lm.grow import grow
from paceline.lm.load import resolve

__all__ = ["Config", "gather", "prompts_of", "run", "target"]

TASKS = (*KINDS, *MADE_KINDS, "spec_bench", *SPEC_BENCH)


@dataclass(frozen=True)
class Config:
    """What to measure.

    grow: millions of parameters a cost-realistic target is grown to (None = as it is). rows: prompts decoded together,
    also measured one by one. limit: prompts per task (None = all). prompts: a JSON-lines file; data: a folder of public
    data sets; either instead of the shipped prompts. context: prompts of so many tokens (needle, completion, document) instead.
    budget: most nodes per round (None = the controller's).
    inexact: measure every method of ours also without exact mode. cold: measure "auto" also with nothing learned before a text.
    temperature: sample at it, with one seed and reproducibly, so that all methods write the same text; 0 = greedy. Raises
    RequestError on bad values.
    """

    model: str = "zoo:tiny"
    drafters: tuple[str, ...] = ("small_model:model=zoo:tiny-draft", "ngram")
    tasks: tuple[str, ...] = ()
    prompts: str | None = None
    data: str | None = None
    context: int | None = None
    against: tuple[str, ...] = ()
    dtype: str | None = None
    forward: str = "auto"
    packed: bool = True
    exact: bool | None = None
    budget: int | None = None
    rows: int = 1
    max_new_tokens: int = 128
    repeats: int = 3
    limit: int | None = None
    grow: float | None = None
    threads: int | None = None
    inexact: bool = False
    cold: bool = False
    temperature: float = 0.0
    device: str | None = None

    def __post_init__(self) -> None:
        for name in ("rows", "max_new_tokens", "repeats", "limit", "threads", "context"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise RequestError(f"{name} must be at least 1; found {value}.")
        if self.prompts and (self.tasks or self.data):
            raise RequestError("Give either a prompt file or tasks (with or without a data folder), not both.")
        if self.context and (self.prompts or self.data):
            raise RequestError("Prompts of a given context are made, not read: leave out --prompts and --data.")
        for spec in self.drafters:
            check(spec)
        check_names(self.against)
        if self.rows > 1 and self.against:
            raise RequestError("Rivals decode one row at a time: leave out --against, or use --rows 1.")
        if self.temperature and self.against:
            raise RequestError("Rivals sample texts of their own: leave out --against, or --temperature.")
        if self.cold and AUTO not in self.drafters:
            raise RequestError("Only what learns which drafter to use can be cold: add --drafter auto, or leave out --cold.")


def run(config: Config, tick: Callable[[int], None] = lambda calls: None) -> dict[str, Any]:
    """Run a benchmark and return its report. `tick(total)` is called after each timed call."""
    pin_threads(config.threads)
    prompts = prompts_of(config)  # before the weights: a mistake in them should not cost a load
    lm = target(config)
    methods = _methods(config, lm)
    groups, dropped = gather(config, lm, methods[0], prompts)
    total = len(methods) * len(groups) * config.repeats
    runs = measure(methods, groups, config.max_new_tokens, config.repeats, lambda: tick(total))
    what = {m.name: m.describe() for m in methods}
    fixed = [name for name, spec in _specs(config).items() if spec != AUTO]
    if AUTO in config.drafters and config.repeats > 1 and len(fixed) > 1:
        for name, (found, chosen) in best_fixed(runs, fixed).items():
            runs[name], what[name] = found, {"of": fixed, "chosen": chosen}
    return _report(config, lm, methods, groups, runs, what) | {"dropped_prompts": dropped}


def target(config: Config) -> LM:
    """The model under test; grown, where that is asked."""
    options: dict[str, Any] = {"forward": config.forward, "packed": config.packed}
    if config.grow is None:
        return paceline.load(config.model, dtype=config.dtype, device=config.device, **options)
    small = paceline.load(config.model, dtype=config.dtype, forward="stock", packed=False)
    grown = grow(small.model, config.grow * 1e6)
    lm = paceline.load(grown.to(config.device) if config.device else grown, tokenizer=small.tokenizer, **options)
    lm.name = config.model
    return lm


def _specs(config: Config) -> dict[str, str]:
    return {PLAIN: "none"} | {f"paceline/{spec}": spec for spec in config.drafters if spec != "none"}


def _methods(config: Config, lm: LM) -> list[Method]:
    specs, sampled = _specs(config), dict[str, Any]()
    if config.temperature:
        sampled = {"sampling": paceline.Sampling(temperature=config.temperature, seed=0), "reproducible": True}
    settings = {spec: {"controller": limited(spec, config.budget), "exact": config.exact, **sampled} for spec in specs.values()}
    ours: list[Method] = [Paceline(name, lm, spec, settings[spec]) for name, spec in specs.items()]
    if config.inexact:
        ours += [Paceline(f"{name}, inexact", lm, spec, settings[spec] | {"exact": False}) for name, spec in specs.items()]
    if config.cold:
        ours.append(Paceline(f"paceline/{AUTO}, cold", lm, AUTO, settings[AUTO], cold=True))
    if config.rows > 1:
        ours += [OneByOne(method) for method in ours]
    return ours + rivals(config.against, Weights(resolve(config.model), lm, config.grow), config.drafters)


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


def _report(config: Config, lm: LM, methods: list[Method], groups: list[Group], runs: dict[str, Runs],
            what: dict[str, dict[str, Any]]) -> dict[str, Any]:
    figures = summarise(runs, groups, lambda prompt, tokens, index: margin(lm, prompt, tokens, index))
    described = {name: {"what": what[name], **figures[name]} for name in runs}
    report: dict[str, Any] = {
        "machine": describe(), "model": lm.describe(), "settings": asdict(config), "node_budget": config.budget,
        "grown": config.grow is not None, "prompts": sum(len(g.prompts) for g in groups), "methods": described,
        "noise": against_itself(runs[PLAIN]),
    }  # fmt: skip
    for method in methods:
        if isinstance(method, LlamaCpp):
            report["forwards"] = forward_seconds(lm, method)
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
