"""Decoders described from named weights: what is known to the letter, and what is left to the stock forward."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from paceline.lm.rotary import Rotary, rope_of
from paceline.lm.sources.llama import FAMILIES as KNOWN
from paceline.lm.sources.transformers import Module
from paceline.testing import FAMILIES, tiny_model


@pytest.mark.parametrize("family", FAMILIES)
def test_known_families_are_described_and_others_are_not(family: str) -> None:
    decoder, why = Module(tiny_model(family)).decoder(1024)
    assert (decoder is not None) == (family in KNOWN) == (not why)


def test_a_rotation_of_part_of_the_head_is_not_described() -> None:
    rope = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
    assert Module(tiny_model("phi3", rope_parameters=rope)).decoder(1024) == (None, "its rotary positions are not known to it")


def test_what_was_set_by_hand_is_not_described() -> None:
    model = tiny_model()
    model.model.layers[1].self_attn.scaling = 0.5
    assert "not as its configuration says" in Module(model).decoder(1024)[1]


LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
LINEAR = {"rope_type": "linear", "factor": 4.0}
YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
KINDS: list[dict[str, Any]] = [{"rope_type": "default"}, LINEAR, {"rope_type": "llama3", **LLAMA3}, YARN]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind["rope_type"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rotations_have_the_bits_of_transformers(kind: dict[str, Any], dtype: torch.dtype) -> None:
    """Frequencies from the configuration alone, and the tables that are made of them."""
    module = tiny_model(rope_parameters={"rope_theta": 500.0, **kind}, head_dim=32).model.rotary_emb
    rope = rope_of({"rope_theta": 500.0, **kind}, 32)
    assert rope is not None and torch.equal(rope.frequencies, module.inv_freq) and rope.scale == module.attention_scaling
    cos, sin = module(torch.zeros(1, 1, dtype=dtype), torch.arange(200)[None])
    ours = Rotary(rope, 1024, torch.zeros(1, dtype=dtype))
    assert torch.equal(ours.cos[:200], cos[0])
    assert torch.equal(torch.cat((-ours.sin[:200, :16], ours.sin[:200, 16:]), 1), sin[0])


def test_other_rotations_are_not_known() -> None:
    assert rope_of({"rope_type": "longrope", "rope_theta": 1e4, "factor": 2.0}, 32) is None
    assert rope_of({"rope_theta": 1e4, **YARN, "mscale": 0.7}, 32) is None
