"""Exact laws of what the engine writes on a `ToyLM`, and drafters whose declarations can be made right or wrong at will."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from paceline import Engine, Request
from paceline.core.proposal import Proposal
from paceline.core.sampling import Dice, Sampling, law_of, shaped
from paceline.testing import ToyLM, outcomes

__all__ = ["Priced", "TreeDrafter", "distance", "engine_law", "plain_law", "priced_law", "softmax_of"]

Law = dict[tuple[int, ...], float]
TIGHT = 1e-9


def plain_law(lm: ToyLM, prompt: Sequence[int], sampling: Sampling, count: int) -> Law:
    """Law of the first `count` tokens, straight from the table: no engine, no rule, no cache."""
    law: Law = {(): 1.0}
    for _ in range(count):
        longer: Law = {}
        for text, weight in law.items():
            prefix = [*prompt, *text]
            p = law_of(shaped(lm.logits(prefix), sampling, prefix, len(prompt)), sampling)
            longer |= {(*text, token): weight * float(p[token]) for token in range(lm.vocab) if p[token] > 0}
        law = longer
    return law


def engine_law(lm: ToyLM, prompt: Sequence[int], sampling: Sampling, count: int, drafter: Any, room: int = 1,
               controller: Callable[[], Any] | None = None) -> Law:
    """Law of the first `count` tokens of the whole round loop, by walking every outcome of its noise.

    The request asks for `count + room` tokens, so that a draft may reach beyond what is compared. controller: makes one that
    learns, and whose lots go by the row's id, anew for every walk.
    """
    return priced_law(lm, Request(prompt, sampling, max_new_tokens=count + room), count, drafter, controller=controller).law


@dataclass
class Priced:
    """The law of what a rule lets out, and what it said that this spent: its mean and the most of any outcome. `accepted` is the
    mean number of drafted tokens that were committed.
    """

    law: Law
    spent: float = 0.0
    most: float = 0.0
    accepted: float = 0.0


def priced_law(lm: ToyLM, request: Request, count: int, drafter: Any, rule: Any = "lossless",
               controller: Callable[[], Any] | None = None) -> Priced:
    """Law of the first `count` tokens of a request, with any rule, by walking every outcome of the noise."""
    kept = Engine(lm, drafter, rule, slots=1)

    def run(noise: Any) -> tuple[tuple[int, ...], float, int]:
        engine = kept if controller is None else Engine(lm, drafter, rule, controller=controller(), slots=1)
        row = engine.submit(request)
        row.dice = noise
        while len(row.new_tokens) < count:
            engine.step()
        engine.cancel(row)
        assert not row.stats.failures, row.stats.failures
        return tuple(row.new_tokens[:count]), row.stats.spent, row.stats.accepted

    law: dict[tuple[int, ...], float] = defaultdict(float)
    found = Priced(law)
    for (text, spent, accepted), weight in outcomes(run):
        law[text] += weight
        found.spent, found.accepted = found.spent + weight * spent, found.accepted + weight * accepted
        found.most = max(found.most, spent)
    assert abs(sum(law.values()) - 1.0) < TIGHT
    found.law = dict(law)
    return found


def distance(a: Law, b: Law) -> float:
    """Total variation between two laws."""
    return sum(abs(a.get(k, 0.0) - b.get(k, 0.0)) for k in a.keys() | b.keys()) / 2


def softmax_of(lm: ToyLM) -> Callable[[Sequence[int]], torch.Tensor]:
    """The model's own law as a drafter's law."""
    return lambda prefix: lm.logits(prefix).softmax(-1)


@dataclass
class TreeDrafter:
    """Proposes a tree of fixed shape from `q(prefix)`, the law after any prefix.

    A drawn node is drawn without replacement among its drawn siblings; a chosen one is the likeliest token not yet there.
    `declare` overrides what is said of the nodes (to tell lies), `stored` the laws that go with them.
    """

    q: Callable[[Sequence[int]], torch.Tensor]
    parents: Sequence[int]
    drawn: Sequence[bool]
    declare: Sequence[bool] | None = None
    stored: Callable[[Sequence[int]], torch.Tensor] | None = None
    replacement: bool = False
    captures, has_model, timed = (), False, False

    def attach(self, lm: Any) -> TreeDrafter:
        return self

    def forget(self, row: Any) -> None:
        """Keeps nothing."""

    def propose(self, rows: Sequence[Any], budgets: Sequence[int]) -> list[Proposal]:
        return [self._tree(row, min(budget, len(self.parents))) for row, budget in zip(rows, budgets, strict=True)]

    def _tree(self, row: Any, n: int) -> Proposal:
        tokens: list[int] = []
        paths: dict[int, list[int]] = {-1: list(row.tokens)}
        for i, parent in enumerate(self.parents[:n]):
            law = self.q(paths[parent]).clone()
            for j in range(i):
                if self.parents[j] == parent and not (self.replacement and self.drawn[j]):
                    law[tokens[j]] = 0.0 if self.drawn[j] or not self.drawn[i] else law[tokens[j]]
            token = row.dice.draw(law, (Dice.DRAFT, len(row.tokens), i)) if self.drawn[i] else int(law.argmax())
            tokens.append(token)
            paths[i] = [*paths[parent], token]
        laws = {p: (self.stored or self.q)(paths[p]) for p in set(self.parents[:n])}
        declared = self.drawn if self.declare is None else self.declare
        return Proposal(tokens, list(self.parents[:n]), list(declared[:n]), ["tree"] * n, laws)
