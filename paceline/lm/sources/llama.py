"""Decoders of llama's kind (llama, qwen2 and 3, mistral, ministral, phi3, olmo2, gemma3), from their settings and named weights.

Checkpoints and transformers' modules name weights alike, so one description serves both. Whatever is not known to the letter is
refused with the reason, and the stock forward serves. gemma3 is that of GGUF files, whose norms' weights have their one added.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch

from paceline.lm.decoder import Decoder, Heads, Layer, Norm
from paceline.lm.rotary import Rope, rope_of
from paceline.lm.weights import Weights
from paceline.lm.weights.dense import joined

__all__ = ["FAMILIES", "Parts", "Tensors", "described"]

FAMILIES = ("llama", "qwen2", "qwen3", "mistral", "ministral", "phi3", "olmo2", "gemma3")


class Parts(Protocol):
    """A model's weights by transformers' names, such as `model.norm`; None where there is none of that name."""

    def linear(self, *names: str) -> Weights | None:
        """One or several that share their input, stacked, with their biases."""
        ...

    def vector(self, name: str) -> torch.Tensor | None:
        """A norm's weight."""
        ...


class Tensors:
    """`Parts` that are plain tensors. weight: one by its full name, None where there is none."""

    def __init__(self, weight: Callable[[str], torch.Tensor | None]) -> None:
        self.weight = weight

    def linear(self, *names: str) -> Weights | None:
        found = [self.weight(f"{name}.weight") for name in names]
        weights = [weight for weight in found if weight is not None]
        return joined(weights, [self.weight(f"{name}.bias") for name in names]) if len(weights) == len(names) else None

    def vector(self, name: str) -> torch.Tensor | None:
        return self.weight(f"{name}.weight")


def described(settings: Mapping[str, Any], parts: Parts, rope: Rope | None, context: int) -> tuple[Decoder | None, str]:
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
        layers = [_layer(settings, i, parts, dim) for i in range(settings["num_hidden_layers"])]
        embed = needed("model.embed_tokens", parts.linear("model.embed_tokens"))
        norm = Norm(needed("model.norm", parts.vector("model.norm")), eps)
    except LookupError as error:
        return None, f"it has no {error}"
    if not all(_fits(layer, heads) for layer in layers):
        return None, "heads have been cut out of its layers"
    local = settings.get("local_rope_parameters")
    return Decoder(layers, embed, norm, parts.linear("lm_head") or embed, heads, rope, context,
                   local_rope=rope_of(local, dim) if local else None, embed_scale=settings.get("embedding_scale", 1.0)), ""


def needed(name: str, found: Any) -> Any:
    """What was found. Raises LookupError where it is None."""
    if found is None:
        raise LookupError(f"{name}.weight")
    return found


def _layer(settings: Mapping[str, Any], i: int, parts: Parts, dim: int) -> Layer:
    def linear(*names: str) -> Weights:
        each = [f"model.layers.{i}.{name}" for name in names]
        return needed(" or ".join(each), parts.linear(*each))

    def norm(name: str) -> Norm | None:
        found = parts.vector(f"model.layers.{i}.{name}")
        return None if found is None else Norm(found, settings["rms_norm_eps"])

    phi, olmo, gemma = (settings["model_type"] == family for family in ("phi3", "olmo2", "gemma3"))
    return Layer(
        qkv=linear("self_attn.qkv_proj") if phi else linear("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        out=linear("self_attn.o_proj"),
        gate_up=linear("mlp.gate_up_proj") if phi else linear("mlp.gate_proj", "mlp.up_proj"),
        down=linear("mlp.down_proj"),
        act=settings["hidden_act"],
        before_attention=norm("input_layernorm"),
        after_attention=norm("post_attention_layernorm") if olmo or gemma else None,
        before_mlp=None if olmo else norm("pre_feedforward_layernorm" if gemma else "post_attention_layernorm"),
        after_mlp=norm("post_feedforward_layernorm"),
        q_norm=norm("self_attn.q_norm"),
        k_norm=norm("self_attn.k_norm"),
        window=_window(settings, i),
        scale=settings.get("query_pre_attn_scalar", dim) ** -0.5,
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
