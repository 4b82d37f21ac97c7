"""Hindsight: the choice is made elsewhere than it is timed."""

from __future__ import annotations

from paceline.bench.best import BEST_EACH, BEST_OVERALL, best_fixed
from paceline.bench.methods import Batch
from paceline.bench.timing import Runs


def runs(seconds: list[list[float]]) -> Runs:
    """Seconds by group and repeat."""
    return Runs([[Batch(s, [[g, r]]) for r, s in enumerate(repeats)] for g, repeats in enumerate(seconds)])


def times(found: Runs) -> list[list[float]]:
    return [[batch.seconds for batch in calls] for calls in found.batches]


def test_each_prompt_has_its_best_and_all_have_one() -> None:
    given = {"a": runs([[1.0, 1.1], [5.0, 5.1]]), "b": runs([[2.0, 2.1], [2.2, 2.3]]), "not asked": runs([[0.1, 0.1]] * 2)}
    found = best_fixed(given, ["a", "b"])
    assert times(found[BEST_EACH][0]) == [[1.0, 1.1], [2.2, 2.3]] and found[BEST_EACH][1] == {"a": 2, "b": 2}
    assert times(found[BEST_OVERALL][0]) == [[2.0, 2.1], [2.2, 2.3]] and found[BEST_OVERALL][1] == {"b": 2}
    assert found[BEST_EACH][0].tokens(1) == [[1, 0]]


def test_a_lucky_repeat_chooses_for_the_others_only() -> None:
    """Each is lucky once; the least of both repeats would be 1.0, which neither can be relied on for."""
    found = best_fixed({"a": runs([[1.0, 3.0]]), "b": runs([[3.0, 1.0]])}, ["a", "b"])
    assert times(found[BEST_EACH][0]) == [[3.0, 3.0]]


def test_of_many_repeats_the_median_of_the_others_counts() -> None:
    found = best_fixed({"a": runs([[2.0, 2.0, 2.0, 2.0]]), "b": runs([[1.0, 9.0, 9.0, 9.0]])}, ["a", "b"])
    assert times(found[BEST_EACH][0]) == [[2.0, 2.0, 2.0, 2.0]]
