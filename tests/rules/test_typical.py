"""Typical acceptance: its threshold, and what it spends."""

from __future__ import annotations

import pytest
import torch

from paceline import Sampling, SpecError
from paceline.rules.typical import Typical
from paceline.testing import ToyLM
from tests.laws import distance, plain_law, softmax_of
from tests.rules.test_annealed import DRAW, EXACT, OTHER, PROMPT, TARGET, TREES, priced


def threshold(eps: float, alpha: float) -> float:
    p = softmax_of(TARGET)(PROMPT)
    return min(eps, alpha * float(torch.exp(torch.sum(p * p.log()))))


@pytest.mark.parametrize(("eps", "alpha"), [(0.9, 0.9), (0.3, 0.3), (0.05, 5.0)])
def test_a_chosen_token_is_accepted_exactly_when_it_is_typical(eps: float, alpha: float) -> None:
    p = softmax_of(TARGET)(PROMPT)
    token = int(softmax_of(OTHER)(PROMPT).argmax())
    found = priced(Typical(eps, alpha), count=1, tree=([-1], [False]))
    typical = float(p[token]) > threshold(eps, alpha)
    assert found.law == ({(token,): pytest.approx(1.0)} if typical else
                         pytest.approx(plain_law(TARGET, PROMPT, DRAW, 1)))
    assert found.spent == pytest.approx(1 - float(p[token]) if typical else 0.0)


def test_both_sides_of_the_threshold_were_seen() -> None:
    token = int(softmax_of(OTHER)(PROMPT).argmax())
    sides = {float(softmax_of(TARGET)(PROMPT)[token]) > threshold(e, a) for e, a in [(0.9, 0.9), (0.3, 0.3), (0.05, 5.0)]}
    assert sides == {True, False}


@pytest.mark.parametrize("shape", TREES)
@pytest.mark.parametrize("seed", range(3))
def test_what_was_spent_bounds_the_departure(seed: int, shape: str) -> None:
    target, other = ToyLM(3, seed=seed), ToyLM(3, seed=seed + 20)
    found = priced(Typical(), tree=TREES[shape], target=target, other=other)
    departed = distance(found.law, plain_law(target, PROMPT, DRAW, 2))
    assert 0.01 < departed <= found.spent + EXACT


def test_tokens_outside_the_law_are_not_written() -> None:
    sampling = Sampling(temperature=1.0, top_k=2, seed=0)
    found = priced(Typical(1e-6), sampling=sampling)
    assert set(found.law) <= set(plain_law(TARGET, PROMPT, sampling, 2))


def test_mistakes_are_explained() -> None:
    for wrong in ({"eps": 0.0}, {"eps": 1.5}, {"alpha": 0.0}):
        with pytest.raises(SpecError, match="typical needs"):
            Typical(**wrong)
