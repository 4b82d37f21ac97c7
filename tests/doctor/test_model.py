"""Predictions in simulated worlds: acceptance and costs are known there, so is the speed-up that decoding really has."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import pytest

from paceline.core.arms import Arm, Outcome
from paceline.doctor.costs import SIZES, Curve, Noted
from paceline.doctor.model import best_length, break_even, modelled, spent, tallied


@dataclass
class World:
    """Chains of `length` tokens, each accepted with chance `alpha` behind accepted ones; a forward of n tokens takes
    `1 + slope * (n - 1)` plain forwards of 10 ms, drafting `draft` and all else `host` of them, prefill and catching up as much.
    beyond: what a forward takes within the loop beyond what is measured apart.
    """

    alpha: float
    length: int = 4
    slope: float = 0.05
    draft: float = 0.1
    host: float = 0.02
    prefill: float = 3.0
    late: float = 0.0
    beyond: float = 0.3
    step: float = 0.01

    def curve(self) -> Curve:
        return Curve({1: {n: self.step * (1 + self.slope * (n - 1)) for n in SIZES}})

    def call(self, chance: random.Random, drafting: bool, tokens: int = 128) -> tuple[list[Noted], float]:
        """The rounds of one prompt, and its seconds, prefill included."""
        rounds, written, unit = [], 0, self.step
        while written < tokens:
            nodes = self.length if drafting else 0
            taken = next((i for i in range(nodes) if chance.random() >= self.alpha), nodes)
            draft = drafting * (self.draft + (not rounds) * self.late) * unit
            verify = unit * (1 + self.beyond + self.slope * nodes)
            outcome = Outcome(0, Arm(0, nodes), nodes, [i < taken for i in range(nodes)], taken + 1, draft, verify, False,
                              draft + verify + self.host * unit)
            rounds.append(Noted(outcome, 1, nodes, 50 + written))
            written += taken + 1
        return rounds, sum(r.outcome.seconds for r in rounds) + self.prefill * unit

    def prompts(self, count: int, seed: int, drafting: bool) -> list[tuple[list[Noted], float]]:
        chance = random.Random(seed)
        return [self.call(chance, drafting) for _ in range(count)]

    def predicted(self, seed: int = 0, count: int = 30) -> dict[str, Any]:
        both = [[spent(r, self.prefill * self.step, self.curve()) for r, _ in self.prompts(count, seed, drafting)]
                for drafting in (False, True)]
        return modelled(*both)

    def true(self) -> float:
        """Of many other prompts."""
        seconds, tokens = {}, {}
        for drafting in (False, True):
            calls = self.prompts(600, 99, drafting)
            seconds[drafting] = sum(s for _, s in calls)
            tokens[drafting] = sum(r.outcome.tokens for rounds, _ in calls for r in rounds)
        return tokens[True] / seconds[True] * seconds[False] / tokens[False]


@pytest.mark.parametrize("world", [
    World(0.8), World(0.8, draft=0.3, length=8), World(0.3, draft=0.2), World(0.0), World(0.95, slope=0.4), World(0.7, late=30.0),
    World(0.6, prefill=60.0), World(0.6, host=0.8), World(0.6, beyond=0.0),
])  # fmt: skip
def test_the_true_speed_up_of_other_prompts_is_recovered(world: World) -> None:
    found, true = world.predicted()["whole"], world.true()
    assert found["value"] == pytest.approx(true, rel=0.06)
    assert found["low"] <= found["value"] <= found["high"] and found["high"] - found["low"] < 0.25 * true


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    world = World(0.7)
    true, held = world.true(), 0
    for seed in range(100):
        found = world.predicted(seed, 12)["whole"]
        held += found["low"] <= true <= found["high"]
    assert 80 <= held <= 99  # a bootstrap over twelve prompts is a little short of 95


def test_a_known_world_in_closed_form() -> None:
    """All accepted, no noise: five tokens for 1.3 + 0.2 + 0.1 + 0.02 steps against one for 1.32."""
    found = World(1.0, prefill=0.0).predicted()
    assert found["whole"]["value"] == pytest.approx(5 * 1.32 / 1.62, rel=0.02)
    assert found["decoding"]["value"] == pytest.approx(found["whole"]["value"]) and found["length"]["value"] == 5.0


def test_prefill_counts_in_the_one_figure_and_not_in_the_other() -> None:
    found = World(0.8, prefill=100.0).predicted()
    assert 1.2 < found["whole"]["value"] < 0.8 * found["decoding"]["value"]


def test_a_round_in_which_the_machine_was_away_is_cut() -> None:
    world = World(1.0)
    [(rounds, _)] = world.prompts(1, 0, True)
    calm = spent(rounds, 0.0, world.curve())
    last = rounds[-1].outcome
    held = Outcome(0, last.arm, 4, last.accepted, 5, 5.0, 5.0, False, 30.0)
    wild = spent([*rounds[:-1], Noted(held, 1, 4, 100)], 0.0, world.curve())
    assert wild.draft + wild.verify + wild.host < 1.25 * (calm.draft + calm.verify + calm.host)


def test_catching_up_is_told_apart_from_drafting() -> None:
    world = World(0.7, late=20.0)
    [(rounds, _)] = world.prompts(1, 0, True)
    found = spent(rounds, 0.0, world.curve())
    assert found.late == pytest.approx(20.0 * world.step, rel=1e-6)
    assert found.draft == pytest.approx(len(rounds) * world.draft * world.step, rel=1e-6)


def test_break_even_in_numbers() -> None:
    world = World(0.5)
    plain, drafted = ([spent(r, 0.0, world.curve()) for r, _ in world.prompts(20, 0, d)] for d in (False, True))
    assert tallied(plain, drafted)["break_even_length"] == pytest.approx((1.5 + 0.1 + 0.02) / 1.32, rel=0.01)
    assert break_even({1: 1.0, 2: 1.3}, 0.2) == pytest.approx(0.5)
    assert break_even({1: 1.0, 2: 2.3}, 0.2) > 1


def test_the_length_for_engines_with_constant_ones() -> None:
    curve = {n: 1 + 0.05 * (n - 1) for n in SIZES}
    good = [0.8 ** (i + 1) for i in range(16)]
    assert best_length(good, curve) > best_length([0.5 ** (i + 1) for i in range(16)], curve) > 0
    assert best_length(good, {n: 1.0 * n for n in SIZES}) == 0 and best_length([], curve) == 0
    assert best_length(good, curve, fixed=1.0) > best_length(good, curve)
