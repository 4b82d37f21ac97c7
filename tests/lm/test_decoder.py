"""A decoder with other weights computes the same, as nearly as they allow."""

from __future__ import annotations

import pytest
import torch

import paceline
from paceline.lm.batch import Batch
from paceline.lm.decoder import rounded
from paceline.lm.forwards import lean
from paceline.lm.weights.blocks import Blocks
from paceline.lm.weights.int8 import Int8
from paceline.lm.weights.quantise import quantized_decoder
from paceline.testing import tiny_model

IDS = torch.arange(3, 43)[None]


def described(**changes):
    lm = paceline.load(tiny_model("llama", intermediate_size=96, **changes).bfloat16(), forward="lean", packed=False)
    return lm, lm.source.decoder(64)[0]


def logits(lm, made) -> torch.Tensor:
    lm.backend = lean.build(made)
    kv = lm.cache()
    return lm.forward(Batch([kv.take()], IDS), kv).float()


@pytest.mark.parametrize(("kind", "activations", "near"), [("u4", "float", 0.9), ("i8", "float", 0.9995), ("i8", "int8", 0.999)])
@pytest.mark.parametrize("tied", [False, True])
def test_quantised(kind: str, activations: str, near: float, tied: bool) -> None:
    lm, plain = described(tie_word_embeddings=tied)
    made = quantized_decoder(plain, kind, activations)
    assert all(isinstance(part, Blocks) for layer in made.layers for part in (layer.qkv, layer.out, layer.gate_up, layer.down))
    assert {made.layers[0].down.form.kernel, made.head.form.kernel} == {3 if kind == "u4" else 5, 5}
    assert (made.head is made.embed) is tied and made.layers[0].gate_up.gated and made.dtype is torch.float32
    assert made.bytes < plain.bytes * 0.65
    assert torch.cosine_similarity(logits(lm, made), logits(lm, plain)).min() > near


def test_rounded_for_drafting() -> None:
    lm, plain = described()
    made = rounded(plain)
    assert all(isinstance(part, Int8) for part in (made.layers[0].qkv, made.layers[1].down, made.head))
    assert made.embed is plain.embed and made.layers[0].before_mlp is plain.layers[0].before_mlp
    assert torch.cosine_similarity(logits(lm, made), logits(lm, plain)).min() > 0.998
