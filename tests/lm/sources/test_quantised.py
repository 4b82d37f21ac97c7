"""Models rounded as they are loaded: near the whole ones, exact in themselves, and refused where that cannot be."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import paceline
from paceline.lm.agreement import decoded, stepped
from paceline.lm.forwards.fused import compiler
from paceline.testing import tiny_model

needs_compiler = pytest.mark.skipif(compiler.library()[0] is None, reason="there is no compiled code here")


@needs_compiler
@pytest.mark.parametrize(("weights", "near"), [("i8", 0.1), ("u4", 0.6)])
def test_it_is_near_the_whole_model_and_drafts_its_own_text(weights: str, near: float) -> None:
    model = tiny_model()
    lm = paceline.load(model, weights=weights)
    tokens = torch.randint(0, 259, (2, 30), generator=torch.Generator().manual_seed(0))
    theirs = stepped(model, tokens)[:, 3:]
    apart = (decoded(lm, tokens) - theirs).square().mean().sqrt() / theirs.std()
    assert lm.forward_name == "fused" and lm.exact_trees and 1e-4 < apart < near, lm.notes
    assert lm.describe()["activations"] == "int8" and lm.weight_bytes < paceline.load(model).weight_bytes / 3
    texts = [paceline.generate(lm, [[5, 6, 7, 8, 5, 6, 7]], max_new_tokens=24, drafter=name)[0].tokens for name in
             ("none", "ngram")]
    assert texts[0] == texts[1]


def test_it_is_another_model_to_the_checks() -> None:
    model = tiny_model()
    names = {paceline.load(model, **how).checks.path for how in (
        {}, {"weights": "u4"}, {"weights": "i8"}, {"weights": "i8", "activations": "float"})}  # fmt: skip
    assert len(names) == 4


@pytest.mark.parametrize(("family", "asked", "said"), [
    ("llama", {"weights": "u5"}, "weights must be one of u4, i8; found 'u5'"),
    ("llama", {"weights": "u4", "forward": "stock"}, "There is no transformers module of weights='u4'"),
    ("gpt2", {"weights": "u4"}, "needs a model that Paceline can describe: the family gpt2"),
])  # fmt: skip
def test_what_cannot_be_rounded_says_so(family: str, asked: dict[str, Any], said: str) -> None:
    with pytest.raises(paceline.ModelError, match=said):
        paceline.load(tiny_model(family), **asked)


def test_a_live_model_is_not_rounded() -> None:
    model = tiny_model()
    model.model.layers[0].register_forward_hook(lambda *_: None)
    with pytest.raises(paceline.ModelError, match="needs a plain model, and this one runs live"):
        paceline.load(model, weights="i8")
