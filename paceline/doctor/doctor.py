"""`paceline doctor`: can drafting help this model on this machine, with which drafter, and how much? Knows no terminal.

Costs and acceptance are measured on one half of the prompts, a prediction is made from them alone, and the other half, decoded
plainly and with every candidate in turns, says how good it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from paceline.bench import run as bench
from paceline.bench.methods import Paceline
from paceline.bench.timing import Group, Runs, measure
from paceline.doctor.costs import Curve, curve
from paceline.doctor.figures import Known, figures, plain_figures, whole
from paceline.doctor.model import spent
from paceline.doctor.runs import Candidate, Watched, candidates, distinct, halves, kept, replayed, together
from paceline.engine.auto import AUTO, attached, check
from paceline.errors import RequestError, SpecError
from paceline.lm import LM
from paceline.lm.load import load_tokenizer
from paceline.replay.recording import Record, read_recorded

__all__ = ["Config", "examine"]

Tick = Callable[[int], None]


@dataclass(frozen=True)
class Config:
    """What to examine.

    drafters: candidates beside those that suit the model. prompts, data: as for the benchmark; replay: recorded prompts and
    outputs instead, on which drafters that need no model are judged without running it. rows: how many prompts are decoded
    together, each number by itself. budgets: most nodes a round; none given = the default and one more. limit: prompts of each
    kind, half of them to calibrate with (None = 6 of several kinds, 24 of one; more for many rows). threads: None = as torch has
    it, which is what `paceline generate` uses. Raises RequestError or SpecError on bad values.
    """

    model: str = "zoo:tiny"
    drafters: tuple[str, ...] = ()
    prompts: str | None = None
    data: str | None = None
    replay: str | None = None
    rows: tuple[int, ...] = (1,)
    budgets: tuple[int, ...] = ()
    limit: int | None = None
    max_new_tokens: int = 96
    repeats: int = 3
    dtype: str | None = None
    forward: str = "auto"
    device: str | None = None
    grow: float | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        for name, values in (("rows", self.rows), ("budget", self.budgets), ("limit", (self.limit,))):
            if any(value is not None and value < (2 if name == "limit" else 1) for value in values):
                raise RequestError(f"{name} must be at least {2 if name == 'limit' else 1}; found {list(values)}.")
        if sum(map(bool, (self.prompts, self.data, self.replay))) > 1:
            raise RequestError("Give one source of prompts: a prompt file, a data folder or a replay.")
        if self.replay and self.rows != (1,):
            raise RequestError("A replay decodes one text at a time: leave out the number of rows, or give prompts instead.")
        for spec in self.drafters:
            if spec == AUTO:
                raise SpecError("The doctor tries what auto chooses among; name a drafter, or none.")
            check(spec)
        self.benchmark()

    @property
    def most(self) -> int:
        """Prompts of each kind; of four kinds so many that both halves have two groups of the largest number of rows."""
        return self.limit or max(6, *(rows + rows % 2 for rows in self.rows)) * (4 if self.prompts or self.replay else 1)

    def benchmark(self) -> bench.Config:
        """The benchmark's settings that load the same model and the same prompts, one at a time."""
        return bench.Config(model=self.model, drafters=(), prompts=self.prompts, data=self.data, dtype=self.dtype, grow=self.grow,
                            forward=self.forward, device=self.device, limit=self.most, threads=self.threads,
                            max_new_tokens=self.max_new_tokens, repeats=self.repeats)


@dataclass
class Ward:
    """What is examined: a loaded model, both halves of its prompts, what forwards cost. records: prompt -> what was recorded."""

    config: Config
    lm: LM
    halves: tuple[list[Group], list[Group]]
    costs: Curve
    tick: Callable[[], None]
    records: dict[tuple[int, ...], Record] = field(default_factory=dict)


def examine(config: Config, tick: Tick = lambda calls: None) -> dict[str, Any]:
    """Examine and return the report. `tick(total)` is called after each timed call."""
    if config.threads:
        torch.set_num_threads(config.threads)
    benchmark, records = config.benchmark(), _records(config)
    wanted = {} if config.replay else bench.prompts_of(benchmark)  # before the weights: a mistake should not cost a load
    lm = bench.target(benchmark)
    groups, dropped = _recorded(records, lm, config) if config.replay else bench.gather(
        benchmark, lm, Paceline("plain", lm, "none", {}), wanted)
    parts = halves(groups)
    costs = curve(lm, [g.prompts[0] for g in parts[0]], config.rows)
    tried, skipped = candidates(lm, config.drafters, config.budgets, costs)
    calls = len(config.rows) * (1 + len(tried)) * config.repeats * len(groups)
    ward = Ward(config, lm, parts, costs, lambda: tick(calls), {r.prompt: r for r in records})
    found = [_with_rows(ward, tried, rows) for rows in config.rows]
    return whole(config, lm, costs, found, skipped) | {"prompts": [len(p) for p in parts], "dropped_prompts": dropped}


def _records(config: Config) -> list[Record]:
    """The recorded texts, their outputs cut to as many tokens as are decoded."""
    if not config.replay:
        return []
    found = read_recorded(Path(config.replay), load_tokenizer(config.model), config.most)
    return [replace(r, output=r.output[: config.max_new_tokens]) for r in found]


def _recorded(records: Sequence[Record], lm: LM, config: Config) -> tuple[list[Group], int]:
    fitting = [r for r in records if len(r.prompt) + config.max_new_tokens <= lm.context]
    if not fitting:
        raise RequestError(f"No record fits: the context is {lm.context} tokens, answers take {config.max_new_tokens} of them.")
    return [Group("replay", [list(r.prompt)]) for r in fitting], len(records) - len(fitting)


def _with_rows(ward: Ward, tried: Sequence[Candidate], rows: int) -> dict[str, Any]:
    """Calibrate, predict and check, so many rows together."""
    plain = Candidate("none", 0, attached(["none"], ward.lm))
    first, second = (together(half, rows) for half in ward.halves)
    replays = _replays(ward, tried, first)
    _, known = _measured(ward, [plain, *(c for c in tried if c not in replays)], first, "calibration")
    known |= {c: _without_forwards(ward, rounds, known[plain]) for c, rounds in replays.items()}
    useful, same = distinct({c: known[c][0] for c in tried})
    runs, _ = _measured(ward, [plain, *useful], second, "check")
    return {
        "rows": rows, "plain": plain_figures(known[plain], runs[plain.name], second), "same": same,
        "candidates": [figures(ward.lm, c, known, runs) | {"rows": rows, "replayed": c in replays} for c in useful],
    }


def _measured(ward: Ward, tried: Sequence[Candidate], groups: list[Group], phase: str) -> tuple[dict[str, Runs], Known]:
    """Time these candidates in turns; name -> runs, and candidate -> its rounds and what each prompt took."""
    methods = [Watched(c, ward.lm, phase) for c in tried]
    runs = measure(methods, groups, ward.config.max_new_tokens, ward.config.repeats, ward.tick)
    known = {}
    for method in methods:
        calls = kept(method, runs[method.name], groups)
        known[method.candidate] = [r for r, _ in calls], [spent(r, prefill, ward.costs) for r, prefill in calls]
    return runs, known


def _replays(ward: Ward, tried: Sequence[Candidate], groups: Sequence[Group]) -> dict[Candidate, Any]:
    """Rounds of those that need no model on the recorded texts, where there are any."""
    records = [ward.records[tuple(g.prompts[0])] for g in groups] if ward.records else []
    found = {c: replayed(ward.lm, c, records) for c in tried} if records else {}
    return {c: rounds for c, rounds in found.items() if rounds is not None}


def _without_forwards(ward: Ward, calls: Any, plain: Any) -> Any:
    """A replay ran no model: prefill and what a round takes beside drafting are plain decoding's."""
    took, base = [spent(rounds, 0.0, ward.costs) for rounds in calls], plain[1]
    host = sum(s.host for s in base) / sum(s.rounds for s in base)
    return calls, [replace(s, host=host * s.rounds, prefill=b.prefill) for s, b in zip(took, base, strict=True)]
