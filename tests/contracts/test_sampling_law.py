"""Every sampling parameter, alone and together, keeps its law under every kind of draft: exact enumeration to 1e-9."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from scipy import stats

import paceline
from paceline import plugins
from paceline.core.sampling import Sampling
from paceline.drafters.ngram import Ngram
from paceline.drafters.small_model import SmallModel
from paceline.testing import ToyLM
from tests.laws import TIGHT, TreeDrafter, distance, engine_law, plain_law, softmax_of

PROMPT = [1, 0, 1]
TARGET, OTHER = ToyLM(3, seed=1), ToyLM(3, seed=2)


def no_repeats(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """A processor that looks at the prefix and keeps no state: the last token may not come twice running."""
    return scores.scatter(1, ids[:, -1:], -torch.inf)


PARAMETERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "temperature": {"temperature": 0.6},
    "top_k": {"top_k": 2},
    "top_p": {"top_p": 0.7},
    "min_p": {"min_p": 0.3},
    "repetition_penalty": {"repetition_penalty": 1.7},
    "presence_penalty": {"presence_penalty": 1.1},
    "frequency_penalty": {"frequency_penalty": -0.9},
    "logit_bias": {"logit_bias": {2: 1.5, 0: -torch.inf}},
    "processor": {"processors": (no_repeats,)},
    "all": {
        "temperature": 0.8, "top_k": 2, "top_p": 0.95, "min_p": 0.05, "repetition_penalty": 1.2, "presence_penalty": 0.3,
        "frequency_penalty": 0.2, "logit_bias": {2: 0.5}, "processors": (no_repeats,),
    },
}  # fmt: skip

DRAFTERS = {
    "drawn chain": TreeDrafter(softmax_of(OTHER), [-1, 0], [True, True]),
    "drawn tree with chosen leaf": TreeDrafter(softmax_of(OTHER), [-1, -1, -1], [True, True, False]),
    "ngram": Ngram(max_n=2, min_n=1, length=2, worth=0.0),
    "small_model": SmallModel(model=OTHER, length=2, worth=0.0),
    "small_model comb": SmallModel(model=OTHER, length=1, branch=2, worth=0.0),
    "small_model chosen": SmallModel(model=OTHER, length=2, drawn=False, worth=0.0),
    "small_model that stops by itself": SmallModel(model=OTHER, length=2, worth=0.5),
}


@pytest.mark.parametrize("parameter", PARAMETERS)
@pytest.mark.parametrize("drafter", DRAFTERS)
def test_drafting_keeps_the_law(drafter: str, parameter: str) -> None:
    sampling = Sampling(**{"temperature": 1.0, "seed": 0, **PARAMETERS[parameter]})
    law = engine_law(TARGET, PROMPT, sampling, 2, DRAFTERS[drafter], room=1)
    assert distance(law, plain_law(TARGET, PROMPT, sampling, 2)) < TIGHT


@pytest.mark.parametrize("parameter", PARAMETERS)
def test_the_parameter_changes_the_law(parameter: str) -> None:
    """Otherwise the test above would show nothing for it."""
    plain = plain_law(TARGET, PROMPT, Sampling(temperature=1.0), 2)
    changed = plain_law(TARGET, PROMPT, Sampling(**{"temperature": 1.0, **PARAMETERS[parameter]}), 2)
    assert (distance(plain, changed) > 0.01) == (parameter != "plain")


@pytest.mark.parametrize("parameter", ["repetition_penalty", "presence_penalty", "frequency_penalty", "logit_bias", "processor"])
@pytest.mark.parametrize("drafter", DRAFTERS)
def test_greedy_decoding_keeps_its_tokens(drafter: str, parameter: str) -> None:
    sampling = Sampling(**PARAMETERS[parameter])
    law = engine_law(TARGET, PROMPT, sampling, 3, DRAFTERS[drafter], room=0)
    assert set(law) == set(plain_law(TARGET, PROMPT, sampling, 3))


def test_drawn_drafts_keep_the_law_with_real_dice() -> None:
    """Draft noise and verify noise have to be independent: 1,000 samples of two tokens against the exact law.

    Chi-square; fails by chance once in a million changes of the noise.
    """
    sampling, n = Sampling(temperature=1.0, seed=0), 1000
    drafter = SmallModel(model=OTHER, length=2, worth=0.0)
    out = paceline.generate(TARGET, PROMPT, drafter=drafter, sampling=sampling, n=n, max_new_tokens=3, slots=16)
    law = plain_law(TARGET, PROMPT, sampling, 2)
    seen = Counter(tuple(g.tokens[:2]) for g in out)
    expected = {text: n * weight for text, weight in law.items()}
    assert min(expected.values()) >= 5  # what the chi-square law needs
    assert sum(g.stats.accepted for g in out) > 250
    assert stats.chisquare([seen[text] for text in expected], list(expected.values())).pvalue > 1e-6


@pytest.mark.parametrize("name", plugins.names("drafter"))
def test_every_drafter_keeps_the_law_where_it_can_draft_a_toy(name: str, tiny_of) -> None:
    """Each walk begins with a drafter that has learned nothing, so that equal beginnings are drafted alike."""
    sampling = Sampling(temperature=1.0)
    law = engine_law(TARGET, PROMPT, sampling, 2, tiny_of(name, TARGET), room=2, controller=lambda: None)
    assert distance(law, plain_law(TARGET, PROMPT, sampling, 2)) < TIGHT
