"""What is measured: a method turns prompts into tokens and says how long it took. This file: Paceline's own."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from paceline import generate
from paceline.core.stats import Stats
from paceline.engine.auto import arranged
from paceline.lm import LM

__all__ = ["Batch", "Method", "OneByOne", "Paceline", "watches"]


@dataclass(frozen=True)
class Batch:
    """One timed call: wall seconds from prompt ids to the last token id, prefill included; every row's new tokens.

    forward: which of our forwards took the steps, "" = plain decoding's: rounds by the same one can be held against each other.
    watched: whether more was done in the prefill than plain decoding does.
    """

    seconds: float
    tokens: list[list[int]]
    stats: list[Stats] = field(default_factory=list)  # empty for rivals, which keep none
    forward: str = ""
    watched: bool = False

    @property
    def reading(self) -> float:
        """Seconds of the prefill, as far as it is told apart."""
        return sum(s.seconds["prefill"] for s in self.stats)

    def reading_in(self, seconds: float) -> Batch:
        """The same call with so many seconds of prefill, its rows having equal shares."""
        each = {"prefill": seconds / max(1, len(self.stats))}
        stats = [replace(s, seconds=s.seconds | each) for s in self.stats]
        return replace(self, seconds=self.seconds - self.reading + seconds, stats=stats)


class Method(Protocol):
    """Anything that decodes greedily or by its own settings; rivals join by having these three."""

    @property
    def name(self) -> str:
        """Who is who in the report."""

    def describe(self) -> dict[str, Any]:
        """What exactly runs, for the record."""

    def run(self, prompts: list[list[int]], max_new_tokens: int) -> Batch:
        """Decode all prompts together."""

    def count_forwards(self, prompt: list[int], max_new_tokens: int) -> int | None:
        """Target forwards for one prompt, in an untimed run; None where the stats of `run` tell."""


def watches(drafters: Sequence[Any]) -> bool:
    """Whether one of these attached drafters has more done in the prefill than plain decoding has."""
    return any("queries" in drafter.captures for drafter in drafters)


@dataclass
class Paceline:
    """Paceline decoding with one drafter; `none` is plain decoding. Drafter and controller are attached once, as a service
    would hold them; but what a drafter keeps of past outputs would make a repeated call look easy, so unless a tenant is given,
    the nth call with the same prompts belongs to a tenant that has seen others' nth calls only. cold: every call has a controller
    that knows nothing and drafters that have seen nothing.
    """

    name: str
    lm: LM
    spec: str
    settings: dict[str, Any]
    cold: bool = False
    calls: Counter[tuple[tuple[int, ...], ...]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.drafters, self.controller = self._arranged()

    def _arranged(self) -> tuple[list[Any], Any]:
        return arranged(self.spec, self.settings.get("controller"), self.lm)

    def describe(self) -> dict[str, Any]:
        return {
            "drafter": self.spec,
            **({"cold": True} if self.cold else {}),
            "forward": self.lm.forward_name,
            "dtype": str(self.lm.dtype).removeprefix("torch."),
            "packed": self.lm.backend.packed or self.lm.forward_name == "fused",
            **{key: value for key, value in self.settings.items() if isinstance(value, str | int | float | bool | None)},
        }

    def run(self, prompts: list[list[int]], max_new_tokens: int) -> Batch:
        self.calls[key := tuple(map(tuple, prompts))] += 1
        tenant = self.settings.get("tenant") or f"call {self.calls.total() if self.cold else self.calls[key]}"
        if self.cold:
            self.drafters, self.controller = self._arranged()
        start = time.perf_counter()
        out = generate(self.lm, prompts, drafter=self.drafters, max_new_tokens=max_new_tokens,
                       **self.settings | {"controller": self.controller, "tenant": tenant})
        seconds, selector = time.perf_counter() - start, self.settings.get("selector")
        forward = selector or ("inexact" if self.settings.get("exact") is False else "")
        watched = watches(self.drafters) or selector is not None
        return Batch(seconds, [g.tokens for g in out], [g.stats for g in out], forward, watched)

    def count_forwards(self, prompt: list[int], max_new_tokens: int) -> int | None:
        return None


@dataclass(frozen=True)
class OneByOne:
    """Another method, given its prompts one at a time: what decoding them together is measured against."""

    method: Method

    @property
    def name(self) -> str:
        return f"{self.method.name}, one by one"

    def describe(self) -> dict[str, Any]:
        return self.method.describe() | {"together": False}

    def run(self, prompts: list[list[int]], max_new_tokens: int) -> Batch:
        single = [self.method.run([prompt], max_new_tokens) for prompt in prompts]
        stats = [s for batch in single for s in batch.stats]
        seconds, tokens = sum(batch.seconds for batch in single), [batch.tokens[0] for batch in single]
        return Batch(seconds, tokens, stats, f"{single[0].forward}, one by one", single[0].watched)

    def count_forwards(self, prompt: list[int], max_new_tokens: int) -> int | None:
        return self.method.count_forwards(prompt, max_new_tokens)
