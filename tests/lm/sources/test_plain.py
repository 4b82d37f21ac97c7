"""A module tree is plain only when it is what its configuration builds, and computes what its classes say."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from transformers.models.llama.modeling_llama import LlamaMLP

from paceline.lm.grow import grow
from paceline.lm.sources.plain import plain
from paceline.testing import FAMILIES, tiny_model


class Adapter(nn.Linear):
    """Any subclass may compute something else."""


def swap(place: str, module: nn.Module) -> Callable[[Any], None]:
    return lambda model: model.set_submodule(place, module)


@pytest.mark.parametrize("family", FAMILIES)
def test_models_as_built_are_plain(family: str) -> None:
    assert plain(tiny_model(family)) == ""


def test_other_sizes_and_dtypes_stay_plain() -> None:
    resized = tiny_model()
    resized.resize_token_embeddings(300, mean_resizing=False)
    assert plain(resized) == plain(grow(tiny_model(), 2e6)) == plain(tiny_model().bfloat16().train()) == ""


@pytest.mark.parametrize(("change", "reason"), [
    (swap("model.layers.1.mlp", nn.Identity()), "model.layers.1.mlp is not what"),
    (swap("model.norm", nn.Identity()), "model.norm is not what"),
    (swap("lm_head", nn.Sequential(nn.Linear(64, 259, bias=False))), "lm_head is not what"),
    (swap("model.layers.0.mlp.act_fn", nn.GELU()), "act_fn is not what"),
    (swap("model.layers.2.mlp.up_proj", Adapter(64, 128, bias=False)), "Adapter is not a module of torch.nn"),
    (lambda m: m.model.layers.__delitem__(2), "model.layers.2 is not what"),
    (lambda m: m.model.norm.register_forward_hook(print), r"hooks \(model.norm\)"),
    (lambda m: m.model.norm.register_forward_pre_hook(print), r"hooks \(model.norm\)"),
    (lambda m: nn.utils.parametrizations.weight_norm(m.lm_head), "parametrised"),
    (lambda m: setattr(m, "forward", functools.partial(m.forward)), "method of a module is replaced"),
    (lambda m: setattr(m.lm_head, "weight", nn.Parameter(m.lm_head.weight.to("meta"))), "offloaded"),
])  # fmt: skip
def test_changes_are_named(change: Callable[[Any], Any], reason: str) -> None:
    model = tiny_model()
    change(model)
    with pytest.raises(AssertionError, match=reason):
        assert plain(model) == "", plain(model)


def test_a_class_whose_forward_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    stock = LlamaMLP.forward
    monkeypatch.setattr(LlamaMLP, "forward", functools.wraps(stock)(lambda self, x: 2 * stock(self, x)))
    assert "LlamaMLP's forward is replaced" in plain(tiny_model())
    assert plain(tiny_model("qwen2")) == ""


def test_global_hooks() -> None:
    hook = nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        assert "global" in plain(tiny_model())
    finally:
        hook.remove()


def test_looking_draws_no_random_numbers() -> None:
    model, before = tiny_model(tie_word_embeddings=True), torch.get_rng_state()
    assert plain(model) == ""
    assert torch.equal(before, torch.get_rng_state())
