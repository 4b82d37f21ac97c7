"""The lean forward: a decoder (`decoder.py`) computed with as few of torch's operators as there can be.

Stock forwards spend 0.4–0.5 ms of Python per layer, more than a small model's arithmetic. Here a layer is about a dozen
operator calls: stacked and packed query/key/value and gate/up, residual additions inside the kernels, one rotation for queries
and keys together. Its logits are checked against the model's own at load.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch.nn.functional import gelu, relu, silu

from paceline.lm.attention import Call, attend, attend_other
from paceline.lm.decoder import Cross, Decoder, Layer, Norm
from paceline.lm.forwards._eager import Eager
from paceline.lm.rotary import Rotary, rotate
from paceline.lm.weights.packed import Packed
from paceline.lm.weights.packed import packed as packed_weights

__all__ = ["ORDER", "PACKS", "build", "fits"]

ORDER, PACKS = 20, False

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "silu": silu, "swish": silu, "gelu": gelu, "gelu_pytorch_tanh": partial(gelu, approximate="tanh"), "relu": relu,
}  # fmt: skip


def fits(decoder: Decoder) -> str:
    """Why this decoder is not for the lean forward; empty where it is."""
    unknown = {layer.act for layer in decoder.layers} - set(ACTIVATIONS)
    return f"the activation {min(unknown)} is not known to it" if unknown else ""


def build(decoder: Decoder, packed: bool = False) -> Eager:
    """The forward at work; packed: on packed copies of the weights, where they can be."""
    model = packed_copy(decoder) if packed else decoder
    device = decoder.embed.rows(NOTHING).device
    return Eager("lean", Lean(model), isinstance(model.head, Packed), model.bytes, decoder.context, device)


NOTHING = torch.zeros(0, dtype=torch.long, device="cpu")


def packed_copy(decoder: Decoder) -> Decoder:
    layers = [replace(old, qkv=packed_weights(old.qkv), out=packed_weights(old.out),
                      gate_up=packed_weights(old.gate_up), down=packed_weights(old.down))
              for old in decoder.layers]
    return replace(decoder, layers=layers, head=packed_weights(decoder.head))


class Lean:
    """`lean(call) -> logits [tokens asked for, V]`."""

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder
        self.heads, self.kv_heads, self.head_dim = decoder.heads.queries, decoder.heads.keys, decoder.heads.dim
        like = decoder.embed.rows(NOTHING)
        self.rotary = Rotary(decoder.rope, decoder.context, like)
        self.local_rotary = None if decoder.local_rope is None else Rotary(decoder.local_rope, decoder.context, like)
        self.cross_rotary = None if decoder.cross_rope is None else Rotary(decoder.cross_rope, decoder.context, like)

    def __call__(self, call: Call) -> torch.Tensor:
        hidden, head = call.batch.picked(self.hidden(call)), self.decoder.head
        return head.linear(hidden) if len(hidden) else hidden.new_empty((0, head.shape[0]))

    def hidden(self, call: Call) -> torch.Tensor:
        """[B * T, W], after the final norm."""
        places = self._places(call)
        far = self.rotary.at(places)
        near = far if self.local_rotary is None else self.local_rotary.at(places)
        turned = None if self.cross_rotary is None else self.cross_rotary.at(places)
        x = self.decoder.embed.rows(call.batch.tokens.reshape(-1))
        x = x if self.decoder.embed_scale == 1.0 else x * self.decoder.embed_scale
        for i, layer in enumerate(self.decoder.layers):
            if call.batch.watch is not None:
                call.batch.watch.enter(x)
            h = layer.before_attention(x) if layer.before_attention else x
            a = self._attention(layer, i, h, *(near if layer.window else far), call)
            x = x + layer.after_attention(layer.out.linear(a)) if layer.after_attention else layer.out.linear(a, x)
            if layer.cross and turned:
                x = layer.cross.out.linear(self._cross(layer.cross, x, *turned, call), x)
            h = layer.before_mlp(x) if layer.before_mlp else x
            gate, up = layer.gate_up.linear(h).chunk(2, -1)
            h = ACTIVATIONS[layer.act](gate).mul_(up)
            x = x + layer.after_mlp(layer.down.linear(h)) if layer.after_mlp else layer.down.linear(h, x)
        return self.decoder.norm(x) if self.decoder.norm else x

    def _places(self, call: Call) -> slice | list[int]:
        """Positions of the new tokens; a slice for one row of a chain."""
        start = call.starts[0]
        if len(call.starts) == 1 and call.parents is None and start + call.width <= call.context:
            return slice(start, start + call.width)
        return [p for row in call.positions for p in row]

    def _cross(self, cross: Cross, x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, call: Call) -> torch.Tensor:
        """The other model's values as the new tokens see them, [B * T, H * D]."""
        m = x.shape[0]
        q = cross.q.linear(cross.norm(x) if cross.norm else x).view(m, cross.heads.queries, cross.heads.dim)
        q = rotate(cross.q_norm(q) if cross.q_norm else q, cos, sin)
        return attend_other(q.unflatten(0, (len(call.slots), -1)), cross.layer, call, cross.scale).reshape(m, -1)

    def _attention(self, layer: Layer, i: int, h: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor,
                   call: Call) -> torch.Tensor:
        """Keys are cached rotated, as the stock forward does. Returns [B * T, Hq * D]."""
        m, d = h.shape[0], self.head_dim
        qkv = layer.qkv.linear(h).view(m, -1, d)
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
