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

from paceline.lm.attend import Call, attend
from paceline.lm.linear import Dense, Packed, fuse, make

__all__ = ["FAMILIES", "Lean", "build", "linears"]

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


class Lean:
    """The forward itself: `lean(tokens [B, T], call) -> hidden [B * T, W]` after the final norm."""

    def __init__(self, model: Any, layers: list[Layer], embed: torch.Tensor, norm: Norm, context: int) -> None:
        config, self.context = model.config, context
        self.layers, self.embed, self.norm = layers, embed, norm
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.rotary = model.model.rotary_emb
        self._table(min(1024, context))

    def _table(self, length: int) -> None:
        """Cosines and sines [length, 1, D] by the model's own rotary module; the sine carries the sign of the half-rotation."""
        cos, sin = self.rotary(self.embed[:1, None], torch.arange(length, device=self.embed.device)[None])
        sin = sin[0].clone()
        sin[:, : self.head_dim // 2].neg_()
        self.cos, self.sin = cos[0][:, None].contiguous(), sin[:, None].contiguous()

    def __call__(self, tokens: torch.Tensor, call: Call) -> torch.Tensor:
        cos, sin = self._rotation(call)
        x = self.embed[tokens.reshape(-1)]
        for i, layer in enumerate(self.layers):
            h = layer.before_attention(x) if layer.before_attention else x
            a = self._attention(layer, i, h, cos, sin, call)
            x = x + layer.after_attention(layer.out(a)) if layer.after_attention else layer.out(a, x)
            h = layer.before_mlp(x) if layer.before_mlp else x
            gate, up = layer.gate_up(h).chunk(2, -1)
            h = layer.act(gate).mul_(up)
            x = x + layer.after_mlp(layer.down(h)) if layer.after_mlp else layer.down(h, x)
        return self.norm(x)

    def _rotation(self, call: Call) -> tuple[torch.Tensor, torch.Tensor]:
        """Cosine and sine rows [B * T, 1, D] at the new tokens' positions; a view for one row of a chain."""
        if len(call.starts) == 1 and call.parents is None and call.starts[0] + call.width <= self.context:
            rows: Any = slice(call.starts[0], call.starts[0] + call.width)
            top = rows.stop
        else:
            flat = [p for row in call.positions() for p in row]
            rows, top = torch.tensor(flat, device=self.embed.device), max(flat) + 1
        if top > len(self.cos):
            self._table(min(2 * top, self.context))
        return self.cos[rows], self.sin[rows]

    def _attention(self, layer: Layer, i: int, h: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor,
                   call: Call) -> torch.Tensor:
        """Keys are cached rotated, as the stock forward does. Returns [B * T, Hq * D]."""
        m, d = h.shape[0], self.head_dim
        qkv = layer.qkv(h).view(m, -1, d)
        qk, v = qkv[:, : self.heads + self.kv_heads], qkv[:, self.heads + self.kv_heads :]
        if layer.q_norm and layer.k_norm:
            qk = self._normed(layer.q_norm, layer.k_norm, qk)
        qk = torch.addcmul(qk * cos, qk.roll(d // 2, -1), sin)
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
    """The lean forward of a transformers causal LM, or None where its family or its modules are not exactly as known here.

    context: positions stay below it; rotations are tabled no further, since some rotary embeddings change beyond.
    """
    config = model.config
    if config.model_type not in FAMILIES or not _is_plain(model):
        return None
    rotary = getattr(config, "rope_parameters", None) or {}
    if float(rotary.get("partial_rotary_factor", 1.0)) != 1.0:
        return None
    layers = [_layer(module, config, packed) for module in model.model.layers]
    return Lean(model, layers, model.model.embed_tokens.weight.detach(), _norm(model.model.norm), context)


def _is_plain(model: Any) -> bool:
    """Only stock linears, norms and embeddings: no quantised, adapter-wrapped or offloaded modules, no hooks."""
    for module in model.modules():
        leaf = not any(True for _ in module.children())
        known = type(module) in (nn.Linear, nn.Embedding, nn.Dropout, nn.Identity) or not list(module.parameters(recurse=False))
        if leaf and not known and not type(module).__name__.endswith("RMSNorm"):
            return False
        if module._forward_hooks or module._forward_pre_hooks or hasattr(module, "_hf_hook"):
            return False
    return all(p.device.type != "meta" for p in model.parameters())


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


def _layer(module: Any, config: Any, packed: bool) -> Layer:
    attention, mlp, parts = module.self_attn, module.mlp, linears(module)
    olmo = config.model_type == "olmo2"
    windowed = config.model_type in ("mistral", "phi3")
    return Layer(
        **{name: make(*fuse(part), packed) for name, part in parts.items()},
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
