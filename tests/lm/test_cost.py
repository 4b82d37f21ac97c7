"""What one more drafted token costs is measured on the model, not assumed."""

from __future__ import annotations

import time
from types import SimpleNamespace

import torch

from paceline.drafters.ngram import Ngram
from paceline.lm.cost import measured_cost
from paceline.lm.kv import KV
from paceline.testing import tiny_lm


def pretend(cost: float, base: float = 0.004) -> SimpleNamespace:
    """A model whose forward takes `base` seconds and `cost` of that for every further token."""

    def forward(kv, slots, tokens):
        time.sleep(base * (1 + cost * (tokens.shape[1] - 1)))
        return torch.zeros(tokens.shape[1], 3)

    return SimpleNamespace(context=99, exact=False, cache=lambda *_: KV(), prefill=lambda *_: None, forward=forward)


def test_the_slope_is_found() -> None:
    cheap, dear = measured_cost(pretend(0.0)), measured_cost(pretend(0.3))
    assert cheap < 0.1 < 0.2 < dear < 0.45


def test_a_real_model_has_one_and_prompt_lookup_goes_by_it() -> None:
    lm = tiny_lm()
    assert 0.01 <= lm.token_cost <= 0.5 and lm.token_cost == lm.token_cost
    assert Ngram().attach(lm).worth == lm.token_cost
    assert Ngram(worth=0.3).attach(lm).worth == 0.3
    assert tiny_lm(max_position_embeddings=20).token_cost == 0.12
