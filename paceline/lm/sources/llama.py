"""Decoders of llama's kind (llama, qwen2, qwen3, mistral, phi3, olmo2), described from their settings and named weights.

Checkpoints and transformers' modules name weights alike, so one description serves both. Whatever is not known to the letter is
refused with the reason, and the stock forward serves.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from paceline.lm.decoder import Decoder, Heads, Layer, Norm
from paceline.lm.rotary import Rope
from paceline.lm.weights.dense import Dense, joined

__all__ = ["FAMILIES", "Named", "described"]

FAMILIES = ("llama", "qwen2", "qwen3", "mistral", "phi3", "olmo2")
Named = Callable[[str], torch.Tensor | None]  # a weight by its name; None where there is none


def described(settings: Mapping[str, Any], weight: Named, rope: Rope | None, context: int) -> tuple[Decoder | None, str]:
    """The decoder, or None and the reason why it cannot be described. settings: as in config.json, nothing left out; context:
    positions stay below it, since some rotary embeddings change beyond.
    """
    family = settings["model_type"]
    if family not in FAMILIES:
        return None, f"the family {family} is not known to it"
    if rope is None:
        return None, "its rotary positions are not known to it"
    dim = settings.get("head_dim") or settings["hidden_size"] // settings["num_attention_heads"]
    heads, eps = Heads(settings["num_attention_heads"], settings["num_key_value_heads"], dim), settings["rms_norm_eps"]
    try:
        layers = [_layer(settings, i, weight, dim) for i in range(settings["num_hidden_layers"])]
        embed, norm = needed(weight, "model.embed_tokens.weight"), Norm(needed(weight, "model.norm.weight"), eps)
    except LookupError as error:
        return None, f"it has no {error}"
    if not all(_fits(layer, heads) for layer in layers):
        return None, "heads have been cut out of its layers"
    head = weight("lm_head.weight")
    return Decoder(layers, Dense(embed), norm, Dense(embed if head is None else head), heads, rope, context), ""


def needed(weight: Named, name: str) -> torch.Tensor:
    """Raises LookupError where there is no such weight."""
    if (found := weight(name)) is None:
        raise LookupError(name)
    return found


def _layer(settings: Mapping[str, Any], i: int, weight: Named, dim: int) -> Layer:
    def linear(*names: str) -> Dense:
        each = [f"model.layers.{i}.{name}" for name in names]
        return joined([needed(weight, f"{name}.weight") for name in each], [weight(f"{name}.bias") for name in each])

    def norm(name: str) -> Norm | None:
        found = weight(f"model.layers.{i}.{name}.weight")
        return None if found is None else Norm(found, settings["rms_norm_eps"])

    phi, olmo = settings["model_type"] == "phi3", settings["model_type"] == "olmo2"
    return Layer(
        qkv=linear("self_attn.qkv_proj") if phi else linear("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        out=linear("self_attn.o_proj"),
        gate_up=linear("mlp.gate_up_proj") if phi else linear("mlp.gate_proj", "mlp.up_proj"),
        down=linear("mlp.down_proj"),
        act=settings["hidden_act"],
        before_attention=norm("input_layernorm"),
        after_attention=norm("post_attention_layernorm") if olmo else None,
        before_mlp=None if olmo else norm("post_attention_layernorm"),
        after_mlp=norm("post_feedforward_layernorm"),
        q_norm=norm("self_attn.q_norm"),
        k_norm=norm("self_attn.k_norm"),
        window=_window(settings, i),
        scale=dim**-0.5,
    )


def _window(settings: Mapping[str, Any], i: int) -> int | None:
    """Of a layer: mistral and phi3 have one for all, the others for those that say so."""
    window = settings.get("sliding_window")
    if settings["model_type"] in ("mistral", "phi3"):
        return window
    kinds = settings.get("layer_types")
    return window if kinds and kinds[i] == "sliding_attention" else None


def _fits(layer: Layer, heads: Heads) -> bool:
    """Whether a layer's linears have the sizes that its heads and each other ask for."""
    return (layer.qkv.shape[0] == (heads.queries + 2 * heads.keys) * heads.dim
            and layer.out.shape[1] == heads.queries * heads.dim and layer.gate_up.shape[0] == 2 * layer.down.shape[1])
