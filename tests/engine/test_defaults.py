"""Torch's defaults may change after a model is loaded: no tensor of the decoding path depends on them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import paceline
from paceline import Sampling, load, plugins
from paceline.lm.load import ZOO
from paceline.lm.weights.packed import packs
from paceline.models.draft_head.head import Head
from paceline.testing import tiny_model
from tests.contracts.test_greedy import prompts
from tests.test_layers import PACKAGE, room, sources

ELSEWHERE = {"bench", "cli", "data", "objectives", "probes", "recipes", "report", "testing", "train"}
NEVER_DECODED = {"exam", "small_lm"}  # models
MAKERS = {"arange", "as_tensor", "empty", "eye", "full", "linspace", "ones", "rand", "randint", "randn", "randperm", "tensor",
          "zeros"}  # fmt: skip


def unnamed(path: Path) -> Iterator[int]:
    """Lines that make a tensor without saying of which dtype and where."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MAKERS:
            of_torch = isinstance(node.func.value, ast.Name) and node.func.value.id == "torch"
            if of_torch and not {"dtype", "device"} <= {keyword.arg for keyword in node.keywords}:
                yield node.lineno


def test_every_tensor_names_its_dtype_and_device() -> None:
    decoding = [path for path in sources() if room(path) not in ELSEWHERE and not NEVER_DECODED & {path.stem, path.parent.name}]
    found = [f"{path.relative_to(PACKAGE)}:{line}" for path in decoding for line in unnamed(path)]
    assert len(decoding) > 50 and not found


@pytest.fixture
def defaults() -> Iterator[None]:
    """Whatever a test makes of torch's defaults ends with it."""
    yield
    torch.set_default_device(None)
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(("forward", "family"), [("auto", "llama"), ("lean", "llama"), ("stock", "llama"), ("auto", "gpt2")])
def test_autocast_changes_no_text(forward: str, family: str) -> None:
    """Neither of what is decoded under it, nor what is decoded later by a model that was loaded under it."""
    lm = load(tiny_model(family), forward=forward)
    asked: dict[str, Any] = {"prompts": [[5, 6, 7, 5, 6], [8, 9]], "max_new_tokens": 12}
    wanted = [g.tokens for g in paceline.generate(lm, **asked)]
    packs.cache_clear()
    with torch.autocast("cpu", torch.bfloat16):
        there = load(tiny_model(family), forward=forward)
        assert (there.forward_name, packs(torch.float32)) == (lm.forward_name, packs.__wrapped__(torch.float32))
        for one in (lm, there):
            assert [g.tokens for g in paceline.generate(one, **asked, drafter="suffix")] == wanted
    assert [g.tokens for g in paceline.generate(there, **asked)] == wanted


@pytest.mark.parametrize("name", ["tiny-glide", "tiny-longspec"])
def test_a_head_is_read_where_its_weights_are(name: str, defaults: None) -> None:
    torch.set_default_device("meta")
    head = Head.from_pretrained(ZOO / name)
    held = [*head.parameters(), *(rope.frequencies for rope in head.rotaries)]
    assert {tensor.device.type for tensor in held} == {"cpu"}


CHANGES = {"dtype": lambda: torch.set_default_dtype(torch.bfloat16), "device": lambda: torch.set_default_device("meta")}


WARM = Sampling(temperature=0.7, top_p=0.95, repetition_penalty=1.1, frequency_penalty=0.1, logit_bias={5: 0.1}, seed=11)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("family", "forward", "name"), [
    *(("llama", "auto", name) for name in plugins.names("drafter")), ("gemma3_text", "stock", "sparse_self"),
])  # fmt: skip
def test_changed_defaults_change_no_text(family: str, forward: str, name: str, change: str, lm_of, tiny_of, defaults) -> None:
    lm = lm_of(family, forward)
    asked = {"prompts": prompts(lm.vocab), "sampling": WARM, "max_new_tokens": 12}
    wanted, made = [g.tokens for g in paceline.generate(lm, **asked)], tiny_of(name, lm)
    CHANGES[change]()
    out = paceline.generate(lm, **asked, drafter=made, reproducible=True)
    assert [g.tokens for g in out] == wanted
    assert not any(g.stats.failures for g in out)
