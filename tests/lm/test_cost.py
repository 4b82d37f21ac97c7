"""What drafted tokens cost is measured on the model, not assumed."""

from __future__ import annotations

import time
from types import SimpleNamespace

import torch

from paceline.drafters.ngram import Ngram
from paceline.lm.cost import UNKNOWN, Costs, clamped
from paceline.lm.head import Head
from paceline.lm.head_lm import HeadLM
from paceline.lm.head_shape import shape_for
from paceline.lm.kv import KV
from paceline.testing import tiny_lm


def pretend(cost: float, base: float = 0.004) -> Costs:
    """A model whose forward takes `base` seconds and `cost` of that for every further token."""

    def forward(kv, slots, tokens, parents=None):
        time.sleep(base * (1 + cost * (tokens.shape[1] - 1)))
        return torch.zeros(tokens.shape[1], 3)

    return Costs(SimpleNamespace(context=999, exact=False, cache=lambda *_: KV(), prefill=lambda *_: None, forward=forward))


def test_the_slope_is_found_and_rises_with_the_rows() -> None:
    cheap, dear = pretend(0.0), pretend(0.3)
    assert cheap.token() < 0.1 < 0.2 < dear.token() < 0.45
    # Eight rows take 1 + 7 x 0.3 units for one token each, and every row's further token 8 x 0.3 more.
    assert abs(dear.token(8) - 2.4 / 3.1) < 0.15
    assert 0.9 < cheap.draft(pretend(0.0, 0.004)) < 1.1 and cheap.draft(pretend(0.0, 0.001)) < 0.5


def test_the_price_of_a_further_token_rises_where_arithmetic_begins_to_count() -> None:
    def forward(kv, slots, tokens, parents=None):
        time.sleep(0.004 * max(1.0, tokens.shape[1] / 4))
        return torch.zeros(tokens.shape[1], 3)

    costs = Costs(SimpleNamespace(context=999, exact=False, cache=lambda *_: KV(), prefill=lambda *_: None, forward=forward))
    assert costs.further(2) < 0.08 and abs(costs.further(5) - 0.25) < 0.08 and abs(costs.further(9) - 0.25) < 0.08


def test_few_numbers_of_rows_are_measured() -> None:
    assert [clamped(rows) for rows in (0, 1, 2, 3, 5, 8, 9, 16, 100)] == [1, 1, 2, 4, 8, 8, 16, 16, 16]


def test_a_real_model_has_costs_and_prompt_lookup_goes_by_them() -> None:
    lm = tiny_lm()
    assert lm.costs.token() >= 0.01 and lm.costs.token() == lm.costs.token()
    assert tiny_lm(max_position_embeddings=16).costs.token() == UNKNOWN
    lookup = Ngram().attach(lm)
    lookup.propose([], [])
    assert lookup.worth == lm.costs.token(0)


def test_a_head_is_timed_reading_its_target() -> None:
    lm = tiny_lm()
    head = HeadLM(Head(shape_for(lm, width=32, heads=2, kv_heads=1, ffn=48)), lm)
    assert lm.costs.draft(head.costs, 2) > 0
