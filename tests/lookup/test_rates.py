"""Rates begin as believed, follow what they see, and share it with the pool."""

from __future__ import annotations

from paceline.lookup.rates import Rates


def test_rates_follow_what_they_see() -> None:
    rates = Rates(lambda kind: 0.25)
    assert rates.of("a") == 0.25
    for _ in range(50):
        rates.learn("a", True)
    assert rates.of("a") > 0.9 and rates.of("b") == 0.25
    for _ in range(100):
        rates.learn("a", False)
    assert rates.of("a") < 0.2


def test_a_row_begins_with_the_pool_s_and_goes_its_own_way() -> None:
    pool = Rates(lambda kind: 0.5)
    one, other = Rates(pool=pool), Rates(pool=pool)
    for _ in range(20):
        one.learn("a", True)
    assert pool.of("a") > 0.8 and other.of("a") == pool.of("a")
    for _ in range(4):
        other.learn("a", False)
    assert other.of("a") < one.of("a")
