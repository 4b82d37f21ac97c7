"""What can be decoded and what cannot, and the few things a loaded model says of itself."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSeq2SeqLM

from paceline import Engine, ModelError, Request
from paceline.lm import LM, load
from paceline.lm.forwards.fused import compiler
from paceline.lm.sources.compatibility import context_of
from paceline.testing import tiny_lm, tiny_model

SMALL = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}


def mamba() -> torch.nn.Module:
    config = AutoConfig.for_model("mamba", vocab_size=64, hidden_size=32, num_hidden_layers=2, state_size=4)
    return AutoModelForCausalLM.from_config(config)


def hybrid() -> torch.nn.Module:
    linear = {"linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8}
    experts = {"num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 16, "shared_expert_intermediate_size": 16}
    config = AutoConfig.for_model("qwen3_next", **SMALL, num_key_value_heads=1, head_dim=16, **linear, **experts)
    return AutoModelForCausalLM.from_config(config)


def t5() -> torch.nn.Module:
    config = AutoConfig.for_model("t5", vocab_size=64, d_model=32, d_kv=16, d_ff=64, num_layers=1, num_heads=2)
    return AutoModelForSeq2SeqLM.from_config(config)


def wrapped() -> torch.nn.Module:
    return torch.nn.DataParallel(tiny_model())


def headless() -> torch.nn.Module:
    return AutoModel.from_config(AutoConfig.for_model("llama", **SMALL))


@pytest.mark.parametrize(("make", "reason"), [(mamba, "recurrent"), (hybrid, "recurrent"), (t5, "encoder-decoder"),
                                              (headless, "head"), (wrapped, "DataParallel is not a transformers model")])
def test_models_without_a_growing_cache_are_refused(make, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        load(make())


def test_a_forward_that_does_not_exist() -> None:
    with pytest.raises(ModelError, match="no lean forward"):
        load(tiny_model("gpt2"), forward="lean")
    with pytest.raises(ModelError, match="auto, fused, lean, stock"):
        load(tiny_model(), forward="fast")


def test_describe_names_what_a_report_needs() -> None:
    said = tiny_lm("qwen3").describe()
    forward = "fused" if compiler.library()[0] else "lean"
    known = {"type": "qwen3", "forward": forward, "dtype": "float32", "vocabulary": 259, "context": 1024}
    assert {key: said[key] for key in known} == known
    assert said["parameters"] > 0 and isinstance(said["exact"], bool)


def test_weight_bytes_leave_out_a_table_that_is_only_looked_up() -> None:
    apart, tied = (tiny_lm(forward="lean", tie_word_embeddings=tie) for tie in (False, True))
    assert apart.weight_bytes == tied.weight_bytes == sum(p.numel() for p in tied.model.parameters()) * 4


ROPES = {
    "dynamic": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0},
    "longrope": {"rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [4.0] * 8, "rope_theta": 10000.0,
                 "original_max_position_embeddings": 64, "factor": 16.0},
}


def roped(kind: str, switch: int = 64) -> LM:
    if kind == "dynamic":
        return tiny_lm(rope_parameters=ROPES[kind], max_position_embeddings=switch)
    return tiny_lm("phi3", rope_parameters={**ROPES[kind], "original_max_position_embeddings": switch},
                   original_max_position_embeddings=switch, max_position_embeddings=16 * switch, sliding_window=None)


@pytest.mark.parametrize("kind", ROPES)
def test_length_dependent_rope_may_not_cross_its_switch(kind: str) -> None:
    lm = roped(kind)
    assert lm.rope_switch == 64
    engine = Engine(lm)
    engine.submit(Request([5] * 40, max_new_tokens=24))
    with pytest.raises(ModelError, match="64"):
        engine.submit(Request([5] * 40, max_new_tokens=25))


@pytest.mark.parametrize("kind", ROPES)
@pytest.mark.parametrize("switch", [64, 1500])
def test_length_dependent_rope_below_its_switch_equals_transformers(kind: str, switch: int) -> None:
    """Also where a table of rotations would be made for more positions than are in use; rows near the switch beside wide ones."""
    lm = roped(kind, switch)
    n = switch - 6
    text = torch.randint(3, 259, (n,), generator=torch.Generator().manual_seed(0)).tolist()
    with torch.inference_mode():
        expected = lm.model.generate(torch.tensor([text]), attention_mask=torch.ones(1, n), do_sample=False, max_new_tokens=6,
                                     eos_token_id=None, pad_token_id=2)[0, n:].tolist()
    engine = Engine(lm, "ngram:min_n=1,worth=0", exact=False)
    out = engine.run([Request(text, max_new_tokens=6), Request([7, 8] * 10, max_new_tokens=30)])
    assert out[0].tokens == expected


def test_a_switch_in_one_kind_of_layer_is_a_switch() -> None:
    """Families with two kinds of layers keep one set of rotary parameters for each."""
    plain = {"rope_type": "default", "rope_theta": 10000.0}
    model = tiny_model("gemma3_text", rope_parameters={"sliding_attention": plain, "full_attention": ROPES["dynamic"]})
    assert context_of(model.config) == (1024, 1024)


def test_rope_that_never_changes_has_no_switch() -> None:
    assert context_of(tiny_model().config) == (1024, None)
    yarn = {"rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4, "original_max_position_embeddings": 256}
    assert context_of(tiny_model(rope_parameters=yarn).config) == (1024, None)
