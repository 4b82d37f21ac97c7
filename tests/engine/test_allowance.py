"""The allowance: what drafting may lose, simulated, and how a controller behind it decides."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from random import Random

import pytest

from paceline.controllers.fixed import Fixed
from paceline.core.arms import Arm, Outcome, View
from paceline.engine.allowance import CAP, TIMED, TRY, Allowance, Guarded
from paceline.lm.plain_steps import FEW, RECENT, PlainSteps

ROUND, NOISE = 1.35, 0.15  # plain steps of a drafted round; standard deviation of a round's time, as a share of it


def decoded(alone: float, texts: Sequence[int], seed: int, spread: int = 1) -> float:
    """Speed, plain decoding's being 1, of texts on which drafting by itself would have `alone`. spread: how many tokens more than
    one a lucky round gives; 1 = as even as can be.
    """
    dice, guarded = Random(seed), Guarded(Fixed(), PlainSteps(lambda rows: 1.0))
    tokens, seconds = 0, 0.0
    for row, length in enumerate(texts):
        left = length
        while left > 0:
            [arm] = guarded.pick([View(row, length - left, left)])
            mean = alone * ROUND
            lucky = int(mean) + (dice.random() < mean % 1) if spread == 1 else 1 + spread * (dice.random() < (mean - 1) / spread)
            given = lucky if arm.budget else 1
            took = (ROUND if arm.budget else 1.0) * max(0.1, dice.gauss(1.0, NOISE))
            guarded.learn([Outcome(row, arm, 0, (), given, 0.0, took, False, took)])
            left, tokens, seconds = left - given, tokens + given, seconds + took
        guarded.forget(row)
    return tokens / seconds


ONE, FORTY = (2000,), (100,) * 40


@pytest.mark.parametrize(("alone", "texts", "least", "most"), [
    (0.5, ONE, 0.98, 1.0), (0.93, ONE, 0.97, 1.0), (0.93, FORTY, 0.97, 1.0), (1.13, ONE, 1.10, 1.13), (2.05, FORTY, 2.02, 2.05),
])  # fmt: skip
def test_drafting_that_loses_is_stopped_and_drafting_that_gains_is_not(
        alone: float, texts: Sequence[int], least: float, most: float) -> None:
    speed = statistics.mean(decoded(alone, texts, seed) for seed in range(20))
    assert least <= speed <= most, speed


def test_rounds_of_very_different_worth_are_borne() -> None:
    """Most rounds give one token and lose, a few give six: what counts is what they give together."""
    assert statistics.mean(decoded(1.25, (48,) * 40, seed, spread=5) for seed in range(20)) > 1.17


def test_losses_end_in_sleep_and_the_next_text_has_what_is_left() -> None:
    """Rounds of three steps and one token: four of them are the first try; then slack gathers until another one is there."""
    allowance = Allowance()
    for _ in range(4):
        assert not allowance.asleep(0)
        allowance.settle(0, 1, 3.0)
    assert allowance.asleep(0) and allowance.asleep(1)  # which has had no round
    plain = 0
    while allowance.asleep(0):
        allowance.settle(0, 1, 1.0)
        plain += 1
    assert plain > 100 and TRY <= allowance.pool.steps < TRY + 0.1
    assert not allowance.asleep(2)


def test_a_single_round_is_no_reason_to_stop_and_gains_are_saved_up_to_a_cap() -> None:
    allowance = Allowance()
    allowance.settle(0, 1, 500.0)  # a stall of the machine, or a prompt to be read
    assert not allowance.asleep(0)
    for _ in range(100):
        allowance.settle(0, 3, 1.5)
    assert allowance.pool.steps == CAP


def drafted(row: int, arm: Arm, seconds: float, tokens: int = 3) -> Outcome:
    return Outcome(row, arm, arm.budget, (), tokens if arm.budget else 1, 0.0, seconds, False, seconds)


def test_now_and_then_all_rows_decode_plainly_so_that_a_plain_step_is_timed() -> None:
    plain = PlainSteps(lambda rows: 10.0)
    guarded, views = Guarded(Fixed(4), plain), [View(0, 20, 50), View(1, 30, 50)]
    plainly = []
    for turn in range(FEW + 2 * TIMED + 2):
        arms = guarded.pick(views)
        plainly += [turn] if all(arm.budget == 0 for arm in arms) else []
        guarded.learn([drafted(view.row, arm, 0.5) for view, arm in zip(views, arms, strict=True)])
    assert plainly == [*range(FEW), FEW + TIMED, FEW + 2 * TIMED + 1]
    assert plain.seconds(2, 30) == 1.0 and plain.seconds(1, 30) == 10.0


def test_a_row_that_sleeps_does_not_keep_the_others_from_drafting() -> None:
    guarded, views = Guarded(Fixed(4), PlainSteps(lambda rows: 10.0)), [View(0, 20, 50), View(1, 30, 50)]
    for turn in range(FEW + 8):
        arms = guarded.pick(views)
        seconds = (2.5, 2.0) if turn >= FEW else (1.0, 1.0)
        guarded.learn([drafted(0, arms[0], seconds[0], tokens=1), drafted(1, arms[1], seconds[1], tokens=4)])
    assert [arm.budget for arm in guarded.pick(views)] == [0, 4]
    guarded.forget(0)
    assert [arm.budget for arm in guarded.pick([View(1, 60, 9), View(2, 9, 9)])] == [4, 4]  # the other has filled the pool


def test_a_plain_step_is_the_median_of_the_last_at_about_this_length() -> None:
    plain = PlainSteps(lambda rows: 10.0)
    for seconds in [9.0] * RECENT + [1.0] * 3 + [2.0] * 4:
        plain.enter(1, 100, seconds)
    plain.enter(1, 5000, 30.0)
    assert [plain.seconds(1, length) for length in (70, 200, 4096, 10**5)] == [2.0, 2.0, 30.0, 30.0]
    assert plain.seconds(2, 100) == 10.0
