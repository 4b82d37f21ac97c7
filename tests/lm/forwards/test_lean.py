"""The lean forward takes only what it knows to the letter, and is used only where it agrees with the stock one."""

from __future__ import annotations

import torch

from paceline.lm import LM, load
from paceline.lm.attention import Call
from paceline.lm.batch import Batch
from paceline.lm.forwards import lean
from paceline.testing import tiny_model


def test_an_activation_that_it_does_not_know_is_left_to_the_stock_forward() -> None:
    lm = load(tiny_model(hidden_act="gelu_new"))
    assert lm.forward_name == "stock" and "gelu_new" in lm.notes[-1]


def test_biases_and_tied_heads_are_known(lm_of) -> None:
    for changes in ({"attention_bias": True, "mlp_bias": True}, {"tie_word_embeddings": True}):
        model = tiny_model("llama", **changes)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("bias"):
                    parameter.normal_()
        assert load(model, forward="lean").forward_name == "lean"  # which it is only after agreeing with the stock forward


def test_a_lean_forward_that_disagrees_is_dropped_and_said(monkeypatch, unchecked) -> None:
    class Skewed(lean.Lean):
        def __call__(self, call: Call) -> torch.Tensor:
            return super().__call__(call) * 1.1

    monkeypatch.setattr(lean, "Lean", Skewed)
    lm = LM(tiny_model(), packed=False)
    assert lm.forward_name == "stock"
    assert any("no lean forward: logits differ" in note for note in lm.describe()["notes"])


def test_windows_of_a_family_with_some_full_layers() -> None:
    model = tiny_model("qwen2", use_sliding_window=True, sliding_window=16, max_window_layers=1,
                       layer_types=["full_attention", "sliding_attention", "sliding_attention"])
    lm = load(model, forward="lean")
    kv = lm.cache()
    slot = kv.take()
    ids = torch.randint(3, 259, (1, 60), generator=torch.Generator().manual_seed(0))
    ours = lm.forward(Batch([slot], ids), kv)
    with torch.inference_mode():
        torch.testing.assert_close(ours, model(ids, use_cache=False).logits[0], atol=1e-4, rtol=1e-4)
