"""A lean forward for llama-type models: llama, qwen2, qwen3, mistral, phi3, olmo2.

Stock forwards spend 0.4–0.5 ms of Python per layer, more than a small model's arithmetic. Here a layer is about a dozen
operator calls: fused and packed query/key/value and gate/up, residual additions inside the kernels, one rotation for queries
and keys together. It reads weights from the stock model, is checked against its forward at load, and refuses (returns None from
`build`) whatever it does not know to the letter.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import rms_norm

from paceline.lm.attention import Call, attend, attend_other
from paceline.lm.rotary import Rotary, rotate
from paceline.lm.weights.linear import Dense, Packed, fuse, make

__all__ = ["FAMILIES", "Cross", "Heads", "Layer", "Lean", "Norm", "build", "linears"]

FAMILIES = ("llama", "qwen2", "qwen3", "mistral", "phi3", "olmo2")
Linear = Dense | Packed


@dataclass(frozen=True)
class Norm:
    """Root-mean-square norm over the last axis."""

    weight: torch.Tensor
    eps: float

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return rms_norm(x, self.weight.shape, self.weight, self.eps)


@dataclass(frozen=True)
class Layer:
    """One decoder layer; norms that a family lacks are None."""

    qkv: Linear
    out: Linear
    gate_up: Linear
    down: Linear
    act: Callable[[torch.Tensor], torch.Tensor]
    before_attention: Norm | None
    after_attention: Norm | None
    before_mlp: Norm | None
    after_mlp: Norm | None
    q_norm: Norm | None
    k_norm: Norm | None
    window: int | None
    scale: float
    cross: "Cross | None" = None


@dataclass(frozen=True)
class Cross:
    """Attention over the keys and values that another model has cached in its layer `layer`, after a layer's own attention."""

    q: Linear
    out: Linear
    norm: Norm | None
    q_norm: Norm | None
    heads: int
    kv_heads: int
    dim: int
    scale: float
    layer: int


@dataclass(frozen=True)
class Heads:
    """How many heads of queries and of keys, and their width."""

    queries: int
    keys: int
    dim: int


class Lean:
    """The forward itself: `lean(tokens [B, T], call) -> hidden [B * T, W]` after the final norm."""

    def __init__(self, layers: list[Layer], embed: torch.Tensor, norm: Norm | None, heads: Heads, rotary: Any, context: int,
                 cross_rotary: Any = None) -> None:
        self.layers, self.embed, self.norm, self.context = layers, embed, norm, context
        self.heads, self.kv_heads, self.head_dim = heads.queries, heads.keys, heads.dim
        self.rotary = Rotary(rotary, context, embed)
        self.cross_rotary = None if cross_rotary is None else Rotary(cross_rotary, context, embed)

    def __call__(self, tokens: torch.Tensor, call: Call) -> torch.Tensor:
        places = self._places(call)
        cos, sin = self.rotary.at(places)
        turned = None if self.cross_rotary is None else self.cross_rotary.at(places)
        x = self.embed[tokens.reshape(-1)]
        for i, layer in enumerate(self.layers):
            h = layer.before_attention(x) if layer.before_attention else x
            a = self._attention(layer, i, h, cos, sin, call)
            x = x + layer.after_attention(layer.out(a)) if layer.after_attention else layer.out(a, x)
            if layer.cross and turned:
                x = layer.cross.out(self._cross(layer.cross, x, *turned, call), x)
            h = layer.before_mlp(x) if layer.before_mlp else x
            gate, up = layer.gate_up(h).chunk(2, -1)
            h = layer.act(gate).mul_(up)
            x = x + layer.after_mlp(layer.down(h)) if layer.after_mlp else layer.down(h, x)
        return self.norm(x) if self.norm else x

    def _places(self, call: Call) -> slice | list[int]:
        """Positions of the new tokens; a slice for one row of a chain."""
        start = call.starts[0]
        if len(call.starts) == 1 and call.parents is None and start + call.width <= self.context:
            return slice(start, start + call.width)
        return [p for row in call.positions() for p in row]

    def _cross(self, cross: Cross, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, call: Call) -> torch.Tensor:
        """The other model's values as the new tokens see them, [B * T, H * D]."""
        m = x.shape[0]
        q = cross.q(cross.norm(x) if cross.norm else x).view(m, cross.heads, cross.dim)
        q = rotate(cross.q_norm(q) if cross.q_norm else q, cos, sin)
        return attend_other(q.unflatten(0, (len(call.slots), -1)), cross.layer, call, cross.scale).reshape(m, -1)

    def _attention(self, layer: Layer, i: int, h: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor,
                   call: Call) -> torch.Tensor:
        """Keys are cached rotated, as the stock forward does. Returns [B * T, Hq * D]."""
        m, d = h.shape[0], self.head_dim
        qkv = layer.qkv(h).view(m, -1, d)
        qk, v = qkv[:, : self.heads + self.kv_heads], qkv[:, self.heads + self.kv_heads :]
        if layer.q_norm and layer.k_norm:
            qk = self._normed(layer.q_norm, layer.k_norm, qk)
        qk = rotate(qk, cos, sin)
        q, k = qk[:, : self.heads], qk[:, self.heads :]
        b = len(call.slots)
        q, k, v = (x.unflatten(0, (b, m // b)).transpose(1, 2) for x in (q, k, v))
        return attend(q, k, v, i, call, layer.scale, layer.window).reshape(m, self.heads * d)

    def _normed(self, q_norm: Norm, k_norm: Norm, qk: torch.Tensor) -> torch.Tensor:
        """Norms on queries and keys: per head (qwen3) or over all heads together (olmo2), told by the weight's size."""
        q, k = qk[:, : self.heads], qk[:, self.heads :]
        if q_norm.weight.numel() == self.head_dim:
            return torch.cat((q_norm(q), k_norm(k)), 1)
        return torch.cat((q_norm(q.flatten(1)).view(q.shape), k_norm(k.flatten(1)).view(k.shape)), 1)


def build(model: Any, packed: bool, context: int) -> Lean | None:
    """The lean forward of a plain transformers causal LM, or None where its family is not exactly as known here.

    context: positions stay below it; rotations are tabled no further, since some rotary embeddings change beyond.
    """
    config = model.config
    if config.model_type not in FAMILIES:
        return None
    rotary = getattr(config, "rope_parameters", None) or {}
    if float(rotary.get("partial_rotary_factor", 1.0)) != 1.0:
        return None
    dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    heads, body = Heads(config.num_attention_heads, config.num_key_value_heads, dim), model.model
    if not all(_fits(linears(module), heads) for module in body.layers):
        return None
    layers = [_layer(module, config, packed) for module in body.layers]
    return Lean(layers, body.embed_tokens.weight.detach(), _norm(body.norm), heads, body.rotary_emb, context)


def _norm(module: Any) -> Norm:
    return Norm(module.weight.detach(), module.variance_epsilon)


def linears(module: Any) -> dict[str, list[nn.Linear]]:
    """A decoder layer's linears by the names of `Layer`, those that share their input together."""
    attention, mlp = module.self_attn, module.mlp
    apart = not hasattr(attention, "qkv_proj")
    return {
        "qkv": [attention.q_proj, attention.k_proj, attention.v_proj] if apart else [attention.qkv_proj],
        "out": [attention.o_proj],
        "gate_up": [mlp.gate_up_proj] if hasattr(mlp, "gate_up_proj") else [mlp.gate_proj, mlp.up_proj],
        "down": [mlp.down_proj],
    }


def _fits(parts: dict[str, list[nn.Linear]], heads: Heads) -> bool:
    """Whether a layer's linears have the sizes that its heads and each other ask for: heads may have been cut out of it."""
    (out,), (down,) = parts["out"], parts["down"]
    made = {name: sum(m.weight.shape[0] for m in parts[name]) for name in ("qkv", "gate_up")}
    return (made["qkv"] == (heads.queries + 2 * heads.keys) * heads.dim and out.weight.shape[1] == heads.queries * heads.dim
            and made["gate_up"] == 2 * down.weight.shape[1])


def _layer(module: Any, config: Any, packed: bool) -> Layer:
    attention, mlp, parts = module.self_attn, module.mlp, linears(module)
    olmo = config.model_type == "olmo2"
    windowed = config.model_type in ("mistral", "phi3")
    return Layer(
        qkv=make(*fuse(parts["qkv"]), packed),
        out=make(*fuse(parts["out"]), packed),
        gate_up=make(*fuse(parts["gate_up"]), packed),
        down=make(*fuse(parts["down"]), packed),
        act=getattr(mlp, "act_fn", None) or mlp.activation_fn,
        before_attention=None if olmo else _norm(module.input_layernorm),
        after_attention=_norm(module.post_attention_layernorm) if olmo else None,
        before_mlp=None if olmo else _norm(module.post_attention_layernorm),
        after_mlp=_norm(module.post_feedforward_layernorm) if olmo else None,
        q_norm=_norm(attention.q_norm) if hasattr(attention, "q_norm") else None,
        k_norm=_norm(attention.k_norm) if hasattr(attention, "k_norm") else None,
        window=config.sliding_window if windowed else getattr(attention, "sliding_window", None),
        scale=attention.scaling,
    )
