"""Errors: one family, and help with near misses."""

from __future__ import annotations

import pytest

from paceline import errors
from paceline.errors import PacelineError, did_you_mean


@pytest.mark.parametrize("name", ["DataError", "ModelError", "RequestError", "ShapeError", "SpecError"])
def test_one_except_catches_all(name: str) -> None:
    assert issubclass(getattr(errors, name), PacelineError) and name in errors.__all__


def test_a_near_miss_names_the_nearest() -> None:
    assert did_you_mean("ngrm", ["none", "ngram"]) == " Did you mean 'ngram'?"


def test_a_far_miss_lists_what_there_is_in_order() -> None:
    assert did_you_mean("zzz", iter(["b", "a"])) == " Known: a, b."
    assert did_you_mean("zzz", []) == ""
