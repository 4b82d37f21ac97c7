"""How often a drafting model is right when it is so sure."""

from __future__ import annotations

import math
import random

from paceline.lookup.acceptance import BINS, Calibration


def test_it_begins_with_a_belief_and_learns_the_truth() -> None:
    calibration, truth, dice = Calibration(), (0.2, 0.9), random.Random(0)
    assert abs(calibration.of(0.25) - 0.5) < 0.01
    for _ in range(400):
        low = dice.random() < truth[0]
        calibration.learn([0.25], int(low))
        calibration.learn([0.95], int(dice.random() < truth[1]))
    assert abs(calibration.of(0.25) - 0.2) < 0.2 and abs(calibration.of(0.95) - 0.9) < 0.15
    assert calibration.of(0.55) == Calibration().of(0.55)  # never seen


def test_a_chain_tells_of_its_tokens_up_to_the_first_refused_one() -> None:
    calibration, fresh = Calibration(), Calibration()
    calibration.learn([0.15, 0.35, 0.55, 0.75], 1)
    before, after = fresh.table, calibration.table
    assert after[1] > before[1] and after[3] < before[3] and after[5:] == before[5:]


def test_a_text_starts_from_the_pool_and_teaches_it() -> None:
    pool = Calibration()
    first = Calibration(pool)
    for _ in range(30):
        first.learn([0.05], 0)
    assert pool.of(0.05) < math.sqrt(0.5 / BINS) / 2 and Calibration(pool).of(0.05) == pool.of(0.05)
    second = Calibration(pool)
    second.learn([0.05], 1)
    assert second.of(0.05) > first.of(0.05)
    assert Calibration().of(1.0) == Calibration().of(0.99)
