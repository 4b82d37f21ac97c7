"""Every rule says of itself whether it is lossless, and is held to it; what a relaxed one spends bounds what it departs by."""

from __future__ import annotations

from typing import Any

import pytest

import paceline
from paceline import Engine, Request, RequestError, Sampling, plugins
from paceline.rules import is_lossless
from paceline.testing import ToyLM
from tests.laws import TIGHT, TreeDrafter, distance, plain_law, priced_law, softmax_of

PROMPT = [1, 0, 1]
TARGET, OTHER = ToyLM(3, seed=1), ToyLM(3, seed=2)
RULES = plugins.names("rule")
TREES = {
    "drawn chain": ([-1, 0], [True, True]),
    "chosen chain": ([-1, 0], [False, False]),
    "drawn tree with chosen leaf": ([-1, -1, -1], [True, True, False]),
}
FILTERS: dict[str, dict[str, Any]] = {
    "plain": {}, "top_k": {"top_k": 2}, "top_p": {"top_p": 0.7}, "bias": {"logit_bias": {0: float("-inf")}},
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("shape", TREES)
@pytest.mark.parametrize("filter", FILTERS)
def test_a_rule_keeps_the_law_or_says_what_it_spends(filter: str, shape: str, name: str) -> None:
    rule, sampling = plugins.make("rule", name), Sampling(temperature=1.0, seed=0, **FILTERS[filter])
    drafter = TreeDrafter(softmax_of(OTHER), *TREES[shape])
    found = priced_law(TARGET, Request(PROMPT, sampling, max_new_tokens=3), 2, drafter, rule)
    plain = plain_law(TARGET, PROMPT, sampling, 2)
    assert set(found.law) <= set(plain)
    assert distance(found.law, plain) <= (0.0 if is_lossless(rule) else found.spent) + TIGHT
    assert not is_lossless(rule) or found.most == 0.0


@pytest.mark.parametrize("name", RULES)
def test_a_rule_that_says_it_is_relaxed_departs(name: str) -> None:
    rule, sampling = plugins.make("rule", name), Sampling(temperature=1.0, seed=0)
    drafter = TreeDrafter(softmax_of(OTHER), *TREES["drawn chain"])
    found = priced_law(TARGET, Request(PROMPT, sampling, max_new_tokens=3), 2, drafter, rule)
    assert (distance(found.law, plain_law(TARGET, PROMPT, sampling, 2)) > 0.01) == (not is_lossless(rule))


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("greedy", [True, False], ids=["greedy", "a seed's text"])
def test_a_relaxed_rule_refuses_what_it_cannot_keep(greedy: bool, name: str) -> None:
    engine = Engine(TARGET, "none", name)
    sampling = Sampling(temperature=0.0 if greedy else 1.0, seed=0)
    request = Request(PROMPT, sampling, max_new_tokens=3, reproducible=not greedy)
    if is_lossless(engine.rule):
        assert len(engine.run([request])[0].tokens) == 3
        return
    with pytest.raises(RequestError, match=name):
        engine.run([request])
    assert not engine.waiting and not engine.rows


@pytest.mark.parametrize("name", RULES)
def test_what_was_spent_is_told_for_each_output(name: str) -> None:
    drafter = TreeDrafter(softmax_of(OTHER), [-1, 0, 1], [True] * 3)
    out = paceline.generate(TARGET, PROMPT, drafter=drafter, rule=name, sampling=Sampling(temperature=1.0, seed=3), n=4,
                            max_new_tokens=16)
    assert all((g.stats.spent > 0) == (not is_lossless(plugins.make("rule", name))) for g in out)
