"""Drafting by the rule ends where the tokens a step are most."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from paceline.lookup.stopping import worthwhile


@given(st.lists(st.floats(0.05, 1.0), min_size=1, max_size=12), st.floats(0.02, 1.2))
def test_a_chain_by_the_rule_gives_the_most_tokens_a_step(chances: list[float], price: float) -> None:
    paths, rates = [1.0], [1.0]
    for n, chance in enumerate(chances, 1):
        paths.append(paths[-1] * chance)
        rates.append(sum(paths) / (1 + n * price))
    drafted, tokens = 0, 1.0
    while drafted < len(chances) and worthwhile(paths[drafted + 1], price, tokens, 1 + drafted * price):
        drafted, tokens = drafted + 1, tokens + paths[drafted + 1]
    assert rates[drafted] >= max(rates) - 1e-9


def test_what_is_slower_than_plain_decoding_anyway_is_no_excuse() -> None:
    assert worthwhile(0.6, 0.5, 1.0, 1.0) and not worthwhile(0.4, 0.5, 1.0, 1.0)
    assert not worthwhile(0.4, 0.5, 1.2, 3.0)  # a round that gives 0.4 tokens a step is left, not mended
