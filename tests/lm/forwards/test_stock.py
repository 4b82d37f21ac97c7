"""A model that is not plain is called itself, as it is at each call, and is as it was afterwards."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

import paceline
from paceline import ModelError
from paceline.testing import tiny_model

PROMPT = [5, 6, 7, 8] * 5
DRAFTER = "ngram:min_n=1,worth=0"


class Lora(nn.Module):
    """A linear with a low-rank addition that can be switched off, and dropout as in training."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(1)
        self.base, self.on, self.dropout = base, True, nn.Dropout(0.5)
        self.down = nn.Parameter(0.2 * torch.randn(2, base.in_features, generator=random))
        self.up = nn.Parameter(torch.randn(base.out_features, 2, generator=random))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + (self.dropout(x) @ self.down.T @ self.up.T if self.on else 0.0)


def adapt(model: Any) -> None:
    for layer in model.model.layers:
        layer.mlp.down_proj = Lora(layer.mlp.down_proj)


def wrap(model: Any) -> None:
    """A forward that knows its keywords, and no others."""
    forward, known = model.forward, ("position_ids", "past_key_values", "attention_mask", "use_cache")
    model.forward = lambda input_ids=None, **rest: forward(input_ids, **{k: rest[k] for k in known if k in rest})


CHANGES: dict[str, Callable[[Any], Any]] = {
    "adapter": adapt,
    "hook": lambda m: m.model.layers[0].register_forward_hook(lambda module, inputs, out: 1.5 * out),
    "no feed-forward": lambda m: setattr(m.model.layers[1], "mlp", nn.Identity()),
    "no norm": lambda m: setattr(m.model, "norm", nn.Identity()),
    "head in a row": lambda m: setattr(m, "lm_head", nn.Sequential(m.lm_head, nn.Identity())),
    "embedding in a row": lambda m: m.set_input_embeddings(nn.Sequential(m.get_input_embeddings())),
    "fewer layers": lambda m: m.model.layers.__delitem__(2),
    "partial": lambda m: setattr(m, "forward", functools.partial(m.forward)),
    "wrapper": wrap,
}


def drafted(lm: Any, drafter: str = DRAFTER) -> list[int]:
    return paceline.generate(lm, PROMPT, drafter=drafter, max_new_tokens=8, eos=())[0].tokens


def stock(model: Any) -> list[int]:
    ids = torch.tensor([PROMPT])
    out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=8, eos_token_id=None,
                         pad_token_id=2)
    return out[0, len(PROMPT) :].tolist()


def traits(model: Any) -> list[Any]:
    return [model.config._attn_implementation, *((m, m.training) for m in model.modules())]


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_is_changed_the_text_is_its_own(change: str) -> None:
    model = tiny_model()
    CHANGES[change](model)
    expected, before = stock(model.eval()), traits(model.train())
    lm = paceline.load(model)
    assert lm.source.live and lm.forward_name == "stock" and not lm.backend.packed and "live" in lm.notes[0]
    assert drafted(lm) == drafted(lm, "auto") == expected
    assert traits(model) == before


def test_a_compiled_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own attention within, which the compiler has to step around; a whole model takes the compiler too long for a test."""
    monkeypatch.setattr("torch._dynamo.config.recompile_limit", 1)
    model = tiny_model(num_hidden_layers=1)
    expected, attention = stock(model), model.model.layers[0].self_attn
    attention.forward = torch.compile(attention.forward, backend="eager")
    lm = paceline.load(model)
    assert "method of a module is replaced" in lm.source.live
    assert drafted(lm) == expected


def test_switches_count_at_the_next_call() -> None:
    model, hooked = tiny_model(), tiny_model()
    adapt(model)
    lm, adapters = paceline.load(model), [m for m in model.modules() if isinstance(m, Lora)]
    for on in (True, False, True):
        for adapter in adapters:
            adapter.on = on
        assert drafted(lm) == stock(model.eval())
        assert (drafted(lm) == stock(tiny_model())) is not on
    hook = CHANGES["hook"](hooked)
    lm, with_hook = paceline.load(hooked), stock(hooked)
    assert drafted(lm) == with_hook != stock(tiny_model())
    hook.remove()
    assert drafted(lm) == stock(tiny_model())


def test_a_call_that_fails_gives_the_model_back() -> None:
    model = tiny_model()
    hook = CHANGES["hook"](model)
    lm, before = paceline.load(model), traits(model)
    model.model.norm.register_forward_pre_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        drafted(lm)
    hook.remove()
    assert traits(model) == before


def test_another_thread_that_calls_the_model_meanwhile_gets_its_own_attention() -> None:
    model, ids, seen = tiny_model("mistral"), torch.tensor([PROMPT * 2]), []

    def call() -> None:
        with torch.no_grad():
            seen.append(model(ids).logits)

    def intrude(*_: Any) -> None:
        hook.remove()
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()

    model.model.layers[1].register_forward_hook(lambda *_: None)
    lm, expected = paceline.load(model), stock(model)
    hook = model.model.embed_tokens.register_forward_hook(intrude)
    assert drafted(lm) == expected
    call()
    torch.testing.assert_close(*seen)


def test_there_are_no_other_forwards_for_it() -> None:
    model = tiny_model()
    adapt(model)
    for asked in ({"forward": "fused"}, {"forward": "lean"}, {"replace": True}):
        with pytest.raises(ModelError, match="Lora is not a module of torch.nn or transformers"):
            paceline.load(model, **asked)


def test_a_head_with_more_tokens_than_the_embedding() -> None:
    model = tiny_model()
    model.lm_head = nn.Linear(64, 999, bias=False)
    model.lm_head.weight.data[259:] = 0.0
    assert drafted(paceline.load(model)) == stock(model)


def test_a_layer_with_fewer_heads_than_the_configuration_says() -> None:
    """Every module is of the usual class, so it is plain, but other code must not take the sizes for granted."""
    model = tiny_model(num_key_value_heads=4)
    attention = model.model.layers[1].self_attn
    for name in ("q_proj", "k_proj", "v_proj", "o_proj"):
        kept = nn.Linear(*((32, 64) if name == "o_proj" else (64, 32)), bias=False)
        old = getattr(attention, name).weight
        kept.weight.data = old[:, :32] if name == "o_proj" else old[:32]
        setattr(attention, name, kept)
    lm = paceline.load(model)
    assert lm.forward_name == "stock" and not lm.source.live
    assert drafted(lm) == stock(model)


def test_peft() -> None:
    peft = pytest.importorskip("peft")
    lora = peft.LoraConfig(task_type="CAUSAL_LM", r=4, lora_dropout=0.5, init_lora_weights=False)
    model = peft.get_peft_model(tiny_model(), lora)
    lm = paceline.load(model)
    assert drafted(lm) == stock(model.eval()) != stock(tiny_model())
    with model.disable_adapter():
        assert drafted(lm) == stock(tiny_model())
    tuned = peft.get_peft_model(tiny_model(), peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4))
    with pytest.raises(ModelError, match="prompt or prefix tuning"):
        paceline.load(tuned)


@pytest.mark.parametrize(("settings", "reason"), [
    ({"is_prompt_learning": True}, "prompt or prefix tuning"),
    ({"alora_invocation_tokens": [7, 8]}, "activated LoRA"),
])
def test_adapters_that_look_at_a_text_as_a_whole_are_refused(settings: dict[str, Any], reason: str) -> None:
    model = tiny_model()
    model.peft_config = {"default": SimpleNamespace(**settings)}
    with pytest.raises(ModelError, match=reason):
        paceline.load(model)
