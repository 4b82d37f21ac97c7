"""What a watcher is shown equals what transformers' own eager attention gives."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from paceline.errors import ModelError
from paceline.lm.sources.transformers import Module
from paceline.lm.trace import Seen, of_decoder, subject
from paceline.testing import tiny_model

TOKENS = [5, 7, 7, 1, 200, 31, 8, 90, 41, 12, 55, 5, 7, 7, 2, 100, 101, 102, 103, 9, 250, 251, 13, 14, 15, 16, 17, 18, 19, 20]


@dataclass
class Everything:
    """Keeps all that it is shown of one text."""

    seen: list[Seen] = field(default_factory=list)
    maps: dict[int, torch.Tensor] = field(default_factory=dict)

    def layer(self, seen: Seen) -> None:
        self.seen.append(seen)
        self.maps[seen.layer] = torch.zeros(len(seen.q), len(seen.positions), len(seen.positions))

    def rows(self, seen: Seen, start: int, probs: torch.Tensor) -> None:
        self.maps[seen.layer][:, start : start + probs.shape[1], : probs.shape[2]] = probs

    def reading(self) -> Any:
        return None


def shown(model: Any) -> Everything:
    watch = Everything()
    subject(model).read(TOKENS, 0, [watch])
    return watch


def gemma2() -> Any:
    return tiny_model("gemma2", sliding_window=8, head_dim=16, attn_logit_softcapping=2.0)


def gpt_oss() -> Any:
    model = tiny_model("gpt_oss", num_local_experts=2, num_experts_per_tok=1, head_dim=16, sliding_window=8)
    for layer in model.model.layers:
        layer.self_attn.sinks.data.normal_()
    return model


MODELS = {
    "llama": tiny_model, "neox": lambda: tiny_model("gpt_neox"), "gpt2": lambda: tiny_model("gpt2"), "gemma2": gemma2,
    "gpt_oss": gpt_oss, "glm": lambda: tiny_model("glm", head_dim=16, pad_token_id=2),
    "scaled": lambda: tiny_model(rope_parameters={"rope_type": "llama3", "rope_theta": 1e4, "factor": 8.0, "low_freq_factor": 1.0,
                                                  "high_freq_factor": 4.0, "original_max_position_embeddings": 64}),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_rows_equal_eager_attention(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In blocks of few rows too, with windows, soft-capping and sink logits; and the hidden states that enter each layer."""
    monkeypatch.setattr("paceline.lm.rows.BLOCK", 1)
    model = MODELS[name]()
    before = model.config._attn_implementation
    watch = shown(model)
    assert model.config._attn_implementation == before
    model.set_attn_implementation("eager")
    with torch.no_grad():
        dense = model(torch.tensor([TOKENS]), output_attentions=True, output_hidden_states=True, use_cache=False)
    for i, seen in enumerate(watch.seen):
        torch.testing.assert_close(watch.maps[i], dense.attentions[i][0], atol=1e-5, rtol=0)
        torch.testing.assert_close(seen.hidden, dense.hidden_states[i][0], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("name", "interleaved", "turning"), [
    ("llama", False, 16), ("scaled", False, 16), ("neox", False, 4), ("glm", True, 8), ("gemma2", False, 16),
    ("gpt_oss", False, 16)])  # fmt: skip
def test_the_rotation_is_the_models_own(name: str, interleaved: bool, turning: int) -> None:
    """Queries turned back equal what the projection gave; turned again they are as they were."""
    model, asked = MODELS[name](), {}
    for layer, module in enumerate(m for n, m in model.named_modules() if n.endswith("q_proj")):
        module.register_forward_hook(lambda module, args, out, layer=layer: asked.update({layer: out[0]}))
    for seen in shown(model).seen:
        rope = seen.rope
        assert rope is not None and rope.interleaved == interleaved and 2 * len(rope.frequencies) == turning
        before = rope.unrotate(seen.q, seen.positions)
        torch.testing.assert_close(rope.rotate(before, seen.positions), seen.q, atol=1e-5, rtol=1e-5)
        if asked:
            plain = asked[seen.layer].unflatten(-1, (len(seen.q), -1)).transpose(0, 1)
            torch.testing.assert_close(before, plain, atol=1e-4, rtol=1e-4)
        assert torch.equal(rope.rotate(torch.ones(1, 3, 16), torch.zeros(3)), torch.full((1, 3, 16), 1.0).mul_(rope.scale)) or (
            turning < 16)


def test_models_that_turn_otherwise_or_not_say_why() -> None:
    reasons = {"gpt2": "no rotary positions", "llama4_text": "not known here", "deepseek_v3": "multi-head latent attention"}
    changes = {"llama4_text": {"head_dim": 16, "num_local_experts": 2, "intermediate_size_mlp": 64},
               "deepseek_v3": {"num_key_value_heads": 4, "kv_lora_rank": 16, "q_lora_rank": None, "qk_rope_head_dim": 8,
                               "qk_nope_head_dim": 8, "v_head_dim": 12, "first_k_dense_replace": 3}}  # fmt: skip
    for family, reason in reasons.items():
        watch, looked = Everything(), subject(tiny_model(family, **changes.get(family, {})))
        looked.read(TOKENS, 0, [watch])
        assert all(seen.rope is None for seen in watch.seen) and reason in looked.why_no_rope()
    with pytest.raises(ModelError, match="shows no attention"):
        subject(tiny_model("gptj", n_embd=64, n_head=4, n_layer=1, rotary_dim=8)).read(TOKENS, 0, [Everything()])


def test_layers_of_two_kinds_have_their_own_frequencies() -> None:
    a, b, c = (seen.rope for seen in shown(tiny_model("gemma3_text")).seen)
    assert torch.equal(a.frequencies, c.frequencies) and not torch.equal(a.frequencies, b.frequencies)


def test_a_described_model_shows_the_same() -> None:
    """The lean forward of a decoder, as a file's, against the module's own."""
    model = tiny_model("qwen2")
    for name, parameter in model.named_parameters():
        parameter.data.normal_() if name.endswith("bias") else None
    ours, theirs, source = Everything(), shown(model), Module(model)
    of_decoder(source, source.decoder(1024)[0]).read(TOKENS, 0, [ours])
    for a, b in zip(ours.seen, theirs.seen, strict=True):
        torch.testing.assert_close(ours.maps[a.layer], theirs.maps[a.layer], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(a.hidden, b.hidden, atol=1e-4, rtol=1e-4)
        for mine, other in zip(a.biases, b.biases, strict=True):
            assert torch.equal(mine, other)
