"""One check at load, every family: what cannot be decoded as the model itself would is refused, and named."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

import paceline
from paceline import ModelError
from paceline.lm.agreement import agreement, length
from paceline.testing import tiny_lm, tiny_model
from tests.lm.forwards.test_stock import drafted, stock

SMALL = {"vocab_size": 99, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
         "max_position_embeddings": 256, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}  # fmt: skip
LATENT = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "num_key_value_heads": 4,
          "n_routed_experts": 4, "n_group": 1, "topk_group": 1, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
          "first_k_dense_replace": 1}  # fmt: skip
GROUPED = {"num_key_value_heads": 2}


def model_of(family: str, **changes: Any) -> Any:
    """With noise on every parameter: what a family has of its own often begins as zeros."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **{**SMALL, **changes})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize(("family", "changes"), [
    ("nemotron", GROUPED),  # drops the keywords of its attention
    ("phimoe", {**GROUPED, "sliding_window": 8, "num_local_experts": 4}),  # a window in its mask alone
    ("deepseek_v3", {**LATENT, "v_head_dim": 4}),  # keys longer than values
    ("deepseek_v3", {**LATENT, "v_head_dim": 24}),
])  # fmt: skip
def test_unusual_families_write_their_own_text(family: str, changes: dict[str, Any]) -> None:
    model = model_of(family, **changes)
    assert drafted(paceline.load(model)) == stock(model)


@pytest.mark.parametrize(("family", "changes"), [
    ("diffllama", GROUPED),  # two attentions in a layer
    ("doge", GROUPED),  # a mask made of the values
    ("hrm_text", GROUPED),  # layers run many times
    ("moshi", {"num_key_value_heads": 4, "sliding_window": 8}),  # a window in its cache alone
    ("bert", {}),  # sees later tokens
    ("roberta", {}),
])  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_families_that_compute_something_else_are_refused(family: str, changes: dict[str, Any], dtype: torch.dtype) -> None:
    with pytest.raises(ModelError, match=f"{family}.*cannot be decoded.*logits differ"):
        paceline.load(model_of(family, **changes).to(dtype), packed=False)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_numbers_that_depend_on_the_rest_of_a_call_are_refused() -> None:
    quantised = torch.ao.quantization.quantize_dynamic(tiny_model(), {nn.Linear})
    steered = tiny_model()
    steered.model.norm.register_forward_hook(lambda module, inputs, out: torch.cat((out[:, :-1], -out[:, -1:]), 1))
    for model in (quantised, steered):
        with pytest.raises(ModelError, match="logits differ"):
            paceline.load(model)


def test_a_wrapper_that_loses_positions_is_refused() -> None:
    model = tiny_model()
    forward = model.forward
    model.forward = lambda input_ids=None, **rest: forward(input_ids)
    with pytest.raises(ModelError, match="cannot be decoded"):
        paceline.load(model)


def test_a_model_that_fails_by_itself_is_said_to() -> None:
    model = tiny_model()
    model.model.layers[0].mlp = nn.Linear(3, 3)
    with pytest.raises(ModelError, match="without Paceline, with RuntimeError"):
        paceline.load(model)


def test_attention_we_do_not_compute_is_refused() -> None:
    with pytest.raises(ModelError, match="softcap"):
        paceline.load(model_of("gemma2", **GROUPED, head_dim=8))


@pytest.mark.parametrize("forward", ["stock", "lean", "auto"])
def test_half_precision_agrees_with_itself(forward: str) -> None:
    assert agreement(paceline.load(tiny_model("qwen3").bfloat16(), forward=forward, packed=False)) == ""


def test_the_probe_goes_beyond_short_windows_and_never_beyond_the_context() -> None:
    windows = {None: 20, 8: 28, 64: 84, 4096: 20}
    assert {w: length(tiny_lm("mistral", forward="stock", sliding_window=w)) for w in windows} == windows
    short = tiny_lm(forward="stock", max_position_embeddings=2)
    assert length(short) == 2 and agreement(short) == ""
