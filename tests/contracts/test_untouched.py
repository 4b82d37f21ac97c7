"""A model handed in is never changed, and still trains, saves and generates by itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

import paceline
from paceline.testing import FAMILIES, tiny_model


def fingerprint(model: Any) -> tuple[Any, ...]:
    weights = {name: (id(t), t.data_ptr(), t._version) for name, t in model.state_dict(keep_vars=True).items()}
    classes = [(name, type(module).__name__, module.training) for name, module in model.named_modules()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    return weights, classes, hooks, model.config._attn_implementation, model.config.to_dict()


@pytest.mark.parametrize("family", FAMILIES)
def test_loading_and_decoding_change_nothing(family: str, tmp_path) -> None:
    model = tiny_model(family)
    ids = torch.arange(5, 25)[None]
    before, logits = fingerprint(model), model(ids).logits.detach()
    lm = paceline.load(model)
    paceline.generate(lm, ids[0].tolist(), drafter="ngram:min_n=1", max_new_tokens=8)
    assert fingerprint(model) == before
    assert torch.equal(model(ids).logits, logits)
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(again(ids).logits, logits)


def test_it_still_trains() -> None:
    model = tiny_model().train()
    paceline.generate(paceline.load(model), [5, 6, 7], drafter="none", max_new_tokens=4)
    assert model.training
    model(torch.arange(5, 25)[None], labels=torch.arange(5, 25)[None]).loss.backward()
    assert all(p.grad is not None for p in model.parameters())
