"""The figures of a benchmark, on numbers whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from paceline.bench.metrics import accept_per_position, expected_speedup, first_divergence, mean_ratio, ratio


def test_a_method_against_itself_is_one_with_no_spread() -> None:
    times = np.array([[0.5, 10], [1.5, 20], [0.25, 3]])
    assert ratio(times, times) == {"value": 1.0, "low": 1.0, "high": 1.0}


def test_a_ratio_is_of_sums_not_a_mean_of_ratios() -> None:
    ours, theirs = np.array([[1.0, 10], [1.0, 10]]), np.array([[1.0, 10], [3.0, 10]])
    figure = ratio(ours, theirs)
    assert figure["value"] == pytest.approx(2.0)  # 4 s over 2 s; the mean of ratios would be 2.0 only by chance
    assert figure["low"] == pytest.approx(1.0) and figure["high"] == pytest.approx(3.0)


def test_different_amounts_of_text_are_compared_by_rate() -> None:
    assert ratio(np.array([[1.0, 20]]), np.array([[1.0, 10]]))["value"] == pytest.approx(2.0)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator, covered = np.random.default_rng(1), 0
    for seed in range(200):
        noise = generator.lognormal(0, 0.3, (40, 2))
        ours, theirs = (
            np.column_stack([noise[:, 0], np.full(40, 10)]),
            np.column_stack([2 * noise[:, 1], np.full(40, 10)]),
        )
        figure = ratio(ours, theirs, draws=400, seed=seed)
        covered += figure["low"] <= 2.0 <= figure["high"]
    assert 170 <= covered <= 200  # 95 % of 200 is 190; the bootstrap is a little short at 40 prompts


def test_the_mean_of_ratios_is_geometric() -> None:
    one, two, half = np.array([[1.0, 10]]), np.array([[2.0, 10]]), np.array([[0.5, 10]])
    assert mean_ratio([(one, two), (one, half)])["value"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("text", "reference", "index"),
    [([1, 2, 3], [1, 2, 3], None), ([1, 9, 3], [1, 2, 3], 1), ([1, 2], [1, 2, 3], 2), ([], [], None), ([], [4], 0)],
)
def test_first_divergence(text: list[int], reference: list[int], index: int | None) -> None:
    assert first_divergence(text, reference) == index


def test_acceptance_by_position_pools_rows() -> None:
    assert accept_per_position([[3, 1], [1]], rounds=8) == [0.5, 0.125]
    assert accept_per_position([], rounds=0) == []


def test_expected_speedup_is_the_classic_formula() -> None:
    assert expected_speedup(3.0, draft=0.5, verify=1.0, plain=1.0) == pytest.approx(2.0)
