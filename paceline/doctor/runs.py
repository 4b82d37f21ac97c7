"""Runs whose every round is kept, and the drafters and budgets worth running."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from paceline import generate
from paceline.bench.methods import Batch, watches
from paceline.bench.timing import Group, Runs
from paceline.controllers.fixed import Fixed
from paceline.doctor.costs import Curve, Ledger, Noted
from paceline.engine.auto import attached, fitting
from paceline.errors import PacelineError, RequestError
from paceline.lm import LM
from paceline.replay import replay
from paceline.replay.recording import Record

__all__ = ["BUDGET", "Candidate", "Watched", "candidates", "distinct", "halves", "kept", "replayed", "together"]

BUDGET = 16  # the controller's default
STEEP = 1.8  # plain steps for a forward of that budget, from which on a smaller one is worth trying, below a larger one
SMALL, LARGE = 4, 32


@dataclass(frozen=True)
class Candidate:
    """A drafter, at work, with a node budget; plain decoding is `none` with 0."""

    spec: str
    budget: int
    drafters: Sequence[Any] = field(repr=False, compare=False)

    @property
    def name(self) -> str:
        return f"{self.spec} {self.budget}"


@dataclass
class Watched:
    """A method of the benchmark whose rounds are kept: `calls`, prompts -> the rounds of every call with them, in order.

    What a drafter keeps of past outputs would make a repeated call look easy, so the repeats of a prompt belong to tenants that
    know other prompts' outputs only.
    """

    candidate: Candidate
    lm: LM
    phase: str
    calls: dict[tuple[tuple[int, ...], ...], list[list[Noted]]] = field(default_factory=lambda: defaultdict(list))

    @property
    def name(self) -> str:
        return self.candidate.name

    def describe(self) -> dict[str, Any]:
        return {"drafter": self.candidate.spec, "budget": self.candidate.budget}

    def run(self, prompts: list[list[int]], max_new_tokens: int) -> Batch:
        done = self.calls[tuple(map(tuple, prompts))]
        ledger = Ledger(Fixed(self.candidate.budget))
        tenant = f"{self.phase} {self.candidate.budget} {len(done)}"
        start = time.perf_counter()
        out = generate(self.lm, prompts, drafter=self.candidate.drafters, controller=ledger, max_new_tokens=max_new_tokens,
                       slots=len(prompts), tenant=tenant)
        seconds = time.perf_counter() - start
        done.append(ledger.rounds)
        return Batch(seconds, [g.tokens for g in out], [g.stats for g in out], watched=watches(self.candidate.drafters))

    def count_forwards(self, prompt: list[int], max_new_tokens: int) -> int | None:
        return None


def kept(method: Watched, runs: Runs, groups: Sequence[Group]) -> list[tuple[list[Noted], float]]:
    """For each group, the rounds of the call whose time is the (lower) median, and its prefill seconds."""
    out = []
    for group, batches in zip(groups, runs.batches, strict=True):
        calls = method.calls[tuple(map(tuple, group.prompts))][-len(batches):]
        which = sorted(range(len(batches)), key=lambda i: batches[i].seconds)[(len(batches) - 1) // 2]
        out.append((calls[which], batches[which].reading))
    return out


def candidates(
    lm: LM, asked: Sequence[str], budgets: Sequence[int], costs: Curve
) -> tuple[list[Candidate], list[dict[str, str]]]:
    """The drafters that suit this model and those asked for, at every budget; and what cannot be built, with the reason.

    Without budgets: the default one, and a smaller or a larger one, as forwards of many tokens are dear or cheap here.
    """
    steep = costs.at(1, 1 + BUDGET) > STEEP * costs.at(1, 1)
    wanted = tuple(dict.fromkeys(budgets)) or (BUDGET, SMALL if steep else LARGE)
    made, skipped = [], []
    for spec in dict.fromkeys([*asked, *fitting(lm)]):
        try:
            made += [Candidate(spec, budget, drafters) for drafters in [attached([spec], lm)] for budget in sorted(wanted)]
        except PacelineError as error:
            skipped.append({"drafter": spec, "why": str(error)})
    return made, skipped


def distinct(rounds: dict[Candidate, list[list[Noted]]]) -> tuple[list[Candidate], list[dict[str, str]]]:
    """The candidates without those whose larger budget is never used, since the drafter keeps to fewer nodes by itself."""
    useful: list[Candidate] = []
    same = []
    for candidate, calls in rounds.items():
        largest = max((r.outcome.drafted for call in calls for r in call), default=0)
        below = max((c.budget for c in useful if c.spec == candidate.spec), default=largest - 1)
        if largest <= below:
            why = f"it never drafted more than {largest} tokens a round, so a budget of {candidate.budget} is as one of {below}"
            same.append({"drafter": candidate.spec, "why": why})
        else:
            useful.append(candidate)
    return useful, same


def halves(groups: Sequence[Group]) -> tuple[list[Group], list[Group]]:
    """Prompts to calibrate with and prompts to check with: of every kind of text each second one. Raises RequestError for one."""
    kinds = dict.fromkeys(g.kind for g in groups)
    parts = [[g for g in groups if g.kind == kind] for kind in kinds]
    first, second = ([g for part in parts for g in part[start::2]] for start in (0, 1))
    if not second:
        raise RequestError("The doctor predicts with one half of the prompts and checks with the other: give two or more of a "
                           f"kind; found {len(groups)} that fit.")
    return first, second


def together(groups: Sequence[Group], rows: int) -> list[Group]:
    """The same prompts decoded so many at once, kinds mixed as in a service; an incomplete group only where there is no other."""
    prompts = [prompt for group in groups for prompt in group.prompts]
    chunks = [prompts[i : i + rows] for i in range(0, len(prompts), rows)]
    if rows == 1:
        return list(groups)
    return [Group("mixed", chunk) for chunk in chunks if len(chunk) == rows or chunk is chunks[0]]


def replayed(lm: LM, candidate: Candidate, records: Sequence[Record]) -> list[list[Noted]] | None:
    """The rounds that recorded texts would have had, one list a record; None for a drafter that needs a model. What forwards cost
    is this model's, so drafts are as long as they would be; seconds of forwards are not in it.
    """
    target = replace(replay.target(records, lm.tokenizer, 0.05), costs=lm.costs)
    try:
        engine = replay.engine(target, candidate.spec, None)
    except RequestError:
        return None
    out = []
    for record in records:
        engine.controller = ledger = Ledger(Fixed(candidate.budget))
        replay.decode(engine, target, record)
        out.append(ledger.rounds)
    return out
