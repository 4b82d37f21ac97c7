"""Whatever a model is given beside a text, and whatever changes in it between two calls, counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import Gemma3Config, Gemma3ForConditionalGeneration

import paceline
from paceline.errors import ModelError
from paceline.testing import tiny_model
from tests.door import DOOR, MODEL, inputs


def embedded(model: Any, text: str) -> torch.Tensor:
    return model.get_input_embeddings()(inputs(text)["input_ids"]).detach()


def gpt2(**changes: Any) -> Any:
    return tiny_model("gpt2", **changes)


INPUTS: dict[str, Callable[[], tuple[Any, dict[str, Any]]]] = {
    "ids and other embeddings": lambda: (MODEL, {**inputs("abcabc"), "inputs_embeds": embedded(MODEL, "hellos")}),
    "embeddings alone": lambda: (MODEL, {"inputs_embeds": embedded(MODEL, "hello")}),
    "token types": lambda: (gpt2(), {**inputs("abcabc"), "token_type_ids": torch.tensor([[5, 5, 5, 9, 9, 9]])}),
    "an encoder's states": lambda: (gpt2(add_cross_attention=True),
                                    {**inputs("abcabc"), "encoder_hidden_states": torch.ones(1, 3, 64)}),
    "keys longer than values": lambda: (tiny_model(
        "deepseek_v3", n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=32, first_k_dense_replace=1, n_group=1,
        topk_group=1, n_shared_experts=1, kv_lora_rank=16, q_lora_rank=16, qk_rope_head_dim=8, qk_nope_head_dim=16, v_head_dim=12,
        num_key_value_heads=4), inputs("abcabc")),
    "beyond the context": lambda: (tiny_model(max_position_embeddings=12), inputs("abcabcab")),
    "dropout": lambda: (gpt2().train(), inputs("abcabc")),
}


@pytest.mark.parametrize("what", INPUTS)
def test_what_a_model_is_given_beside_a_text_is_not_lost(what: str) -> None:
    model, given = INPUTS[what]()
    written = []
    for door in ({}, {"custom_generate": DOOR}):
        torch.manual_seed(0)
        written.append(model.generate(**given, max_new_tokens=8, do_sample=False, **door))
    assert torch.equal(*written)


def test_autocast_counts_as_it_does_for_transformers() -> None:
    strict, given = paceline.accelerate(strict=True), {**inputs("abcabc"), "max_new_tokens": 4, "do_sample": False}
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(ModelError, match=r"torch\.autocast"):
        gpt2().generate(**given, custom_generate=strict)
    assert torch.equal(gpt2().generate(**given, custom_generate=strict), gpt2().generate(**given))


def test_two_pictures_give_two_texts_and_a_text_alone_is_drafted() -> None:
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 8,
              "patch_size": 4}
    text = tiny_model("gemma3_text").config.to_dict()
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=200,
                          boi_token_index=201, eoi_token_index=202)
    torch.manual_seed(0)
    model, ids = Gemma3ForConditionalGeneration(config).eval(), torch.tensor([[5, 200, 200, 200, 200, 70, 71]])
    text = {**inputs("abcabc"), "max_new_tokens": 6, "do_sample": False}
    door = paceline.accelerate("none", strict=True)  # a text alone is decoded here
    assert torch.equal(model.generate(**text), model.generate(**text, custom_generate=door))
    given = {"input_ids": ids, "token_type_ids": (ids == 200).long(), "max_new_tokens": 6, "do_sample": False}
    for picture in torch.randn(2, 1, 3, 8, 8):
        theirs, ours = (model.generate(**given, pixel_values=picture, **door) for door in ({}, {"custom_generate": DOOR}))
        assert torch.equal(theirs, ours)


@torch.no_grad()
def scale(model: Any) -> None:
    model.model.layers[0].mlp.down_proj.weight.mul_(-2.0)


def steer(model: Any) -> None:
    model.model.layers[1].register_forward_hook(lambda module, given, out: out * -1.0)


def wrap(model: Any) -> None:
    plain = model.model.layers[0].mlp.forward
    model.model.layers[0].mlp.forward = lambda x: -plain(x)


def merge(model: Any) -> None:
    model.model.layers[0].mlp.down_proj.weight.data -= 0.5


def permute(model: Any) -> None:
    weight = model.model.layers[0].mlp.down_proj.weight
    weight.data.copy_(weight.data.flip(0))


def assign(model: Any) -> None:
    model.load_state_dict({k: v * -2.0 for k, v in model.state_dict().items()}, assign=True)


def turn(model: Any) -> None:
    model.model.rotary_emb.inv_freq.mul_(-40.0)


def sharpen(model: Any) -> None:
    for layer in model.model.layers:
        layer.self_attn.scaling *= 40.0


def prune(model: Any) -> None:
    model.model.layers[0].mlp = torch.nn.Identity()


CHANGES = [scale, steer, wrap, merge, permute, assign, turn, sharpen, prune]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_whatever_changes_in_a_model_counts_at_the_next_call(change: Callable[[Any], None]) -> None:
    model, door = tiny_model(seed=3), paceline.accelerate("none")
    keywords = {**inputs("abcabc"), "max_new_tokens": 8, "do_sample": False}
    before = model.generate(**keywords, custom_generate=door)
    assert torch.equal(before, model.generate(**keywords))
    change(model)
    after = model.generate(**keywords)
    assert torch.equal(model.generate(**keywords, custom_generate=door), after) and not torch.equal(before, after)


def test_a_model_made_in_inference_mode_is_drafted() -> None:
    with torch.inference_mode():
        model = tiny_model()
    given = {**inputs("abcabc"), "max_new_tokens": 8, "do_sample": False}
    assert torch.equal(model.generate(**given, custom_generate=paceline.accelerate(strict=True)), model.generate(**given))
