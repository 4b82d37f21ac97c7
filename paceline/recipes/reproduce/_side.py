"""Drafters side by side on one engine, so that a prompt is read once for all of them, and what each of them did."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from paceline.bench.metrics import ratio
from paceline.core.arms import Arm, Outcome, View
from paceline.core.request import Request
from paceline.core.row import Generation
from paceline.engine import Engine
from paceline.errors import ModelError
from paceline.lm import LM

__all__ = ["PLAIN", "Side", "beside_plain", "per_forward", "share_accepted"]

PLAIN = "plain"
Turns = Sequence[dict[str, list[Generation]]]  # of each turn, what each drafter wrote to each prompt


class Side:
    """The engine, and which of its drafters has its turn."""

    timed = True

    def __init__(self, lm: LM, tried: dict[str, Any]) -> None:
        self.arms, self.which = list(tried), 0
        self.engine = Engine(lm, list(tried.values()), controller=self, slots=1, max_cached=1)

    def pick(self, views: Sequence[View]) -> list[Arm]:
        return [Arm(self.which, 0 if self.arms[self.which] == PLAIN else 64)] * len(views)

    def learn(self, outcomes: Sequence[Outcome]) -> None: ...

    def forget(self, row: int) -> None: ...

    def decoded(self, asked: Sequence[Request], turns: int) -> list[dict[str, list[Generation]]]:
        """For every turn what each arm wrote. Raises ModelError where a greedy text is not the first arm's."""
        found: list[dict[str, list[Generation]]] = [{arm: [] for arm in self.arms} for _ in range(turns)]
        for request in asked:
            self.engine.run([replace(request, max_new_tokens=1)])
            for turn, got in enumerate(found):
                for which in range(len(self.arms))[:: -1 if turn else 1]:
                    self.which = which
                    got[self.arms[which]] += self.engine.run([request])
                self._check(got)
        return found

    def _check(self, got: dict[str, list[Generation]]) -> None:
        for arm, out in got.items():
            if out[-1].tokens != got[self.arms[0]][-1].tokens or out[-1].stats.failures:
                raise ModelError(f"{arm} wrote another answer than {self.arms[0]}, or failed: that must not be.")


def beside_plain(turns: Turns) -> dict[str, dict[str, Any]]:
    """Of each drafter: the share of its tokens that was accepted, tokens a forward, and speed against plain decoding after the
    prefill, each prompt's time being its best of all turns.
    """
    best = {arm: np.array([[min(out.stats.decoding_seconds for out in same), same[0].stats.new_tokens]
                           for same in zip(*(turn[arm] for turn in turns), strict=True)]) for arm in turns[0]}
    return {arm: {"accepted": share_accepted(out), "acceptance_length": per_forward(out),
                  "speedup": ratio(best[arm], best[PLAIN], np.array([[g.stats.rounds, g.stats.new_tokens] for g in out]))}
            for arm, out in turns[0].items()}


def share_accepted(out: Sequence[Generation]) -> float:
    """Accepted tokens over drafted ones; the last round's surplus counts as drafted."""
    return sum(g.stats.accepted for g in out) / max(1, sum(g.stats.drafted for g in out))


def per_forward(out: Sequence[Generation]) -> float:
    return sum(g.stats.new_tokens for g in out) / sum(g.stats.rounds for g in out)
