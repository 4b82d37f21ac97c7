"""A decoder-only model as data: what forwards of our own compute, whoever described it.

A transformers module, a folder of weights or a draft head is described once, by its source (`sources/`); the lean and the
compiled forward consume the description and know no module. Models that cannot be described run on the stock forward.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn.functional import rms_norm

from paceline.lm.rotary import Rope
from paceline.lm.weights import Table, Weights
from paceline.lm.weights.blocks import Blocks
from paceline.lm.weights.dense import Dense
from paceline.lm.weights.int8 import Int8

__all__ = ["Cross", "Decoder", "Heads", "Layer", "Norm", "changed", "rounded"]


@dataclass(frozen=True)
class Norm:
    """Root-mean-square norm over the last axis."""

    weight: torch.Tensor
    eps: float

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return rms_norm(x, self.weight.shape, self.weight, self.eps)


@dataclass(frozen=True)
class Heads:
    """How many heads of queries and of keys, and their width."""

    queries: int
    keys: int
    dim: int


@dataclass(frozen=True)
class Cross:
    """Attention over the keys and values that another model has cached in its layer `layer`, after a layer's own attention."""

    q: Weights
    out: Weights
    norm: Norm | None
    q_norm: Norm | None
    heads: Heads
    scale: float
    layer: int


@dataclass(frozen=True)
class Layer:
    """One layer; norms that a model lacks are None. qkv, gate_up: linears that share their input, stacked in this order. act: the
    activation's name, as configurations have it. window: keys that a token sees, itself included; None = all. q_norm, k_norm:
    over each head where their weight is as long as one, else over all heads together.
    """

    qkv: Weights
    out: Weights
    gate_up: Weights
    down: Weights
    act: str
    before_attention: Norm | None
    after_attention: Norm | None
    before_mlp: Norm | None
    after_mlp: Norm | None
    q_norm: Norm | None
    k_norm: Norm | None
    window: int | None
    scale: float
    cross: Cross | None = None


@dataclass(frozen=True)
class Decoder:
    """The whole model: embedding, layers, final norm (or None), output head.

    embed: [ids, W], its rows times `embed_scale`. head: [V, W]. rope: rotation of queries and keys; local_rope: of layers with a
    window, where theirs is another; cross_rope: of queries that read another model's keys. context: positions stay below it.
    """

    layers: Sequence[Layer]
    embed: Table
    norm: Norm | None
    head: Weights
    heads: Heads
    rope: Rope
    context: int
    cross_rope: Rope | None = None
    local_rope: Rope | None = None
    embed_scale: float = 1.0

    def rope_of(self, layer: int) -> Rope:
        """Rotation of a layer's queries and keys."""
        return self.local_rope if self.local_rope and self.layers[layer].window else self.rope

    @property
    def known(self) -> int:
        """Ids that have an embedding."""
        return self.embed.shape[0]

    @property
    def bytes(self) -> int:
        """Of weights that one decoded token reads, as stored: all but an embedding that is only looked up."""
        parts = [part for layer in [*self.layers, *(layer.cross for layer in self.layers if layer.cross)] for part in
                 vars(layer).values()]
        norms = [part.weight for part in [*parts, self.norm] if isinstance(part, Norm)]
        linears = [part for part in parts if hasattr(part, "linear")]
        return sum(w.bytes for w in [*linears, self.head]) + sum(w.numel() * w.element_size() for w in norms)

    @property
    def activations(self) -> str:
        """What its quantised linears make of their inputs, "int8" or "float"; "" where none is quantised."""
        parts = (part for layer in self.layers for part in vars(layer).values())
        return next((part.activations for part in parts if isinstance(part, Blocks)), "")

    @property
    def dtype(self) -> torch.dtype:
        return self.head.dtype


Change = Callable[[str, Any], Any]  # (name of a part, the part) -> what stands in its place


def changed(part: Any, change: Change) -> Any:
    """A layer, or its cross-attention, with its norms and linears changed."""
    parts = {name: changed(value, change) if isinstance(value, Cross) else change(name, value)
             for name, value in vars(part).items() if isinstance(value, Cross | Norm) or hasattr(value, "linear")}
    return replace(part, **parts)


def rounded(decoder: Decoder) -> Decoder:
    """The same decoder with its dense linears in int8, the embedding aside: for drafting."""

    def change(name: str, part: Any) -> Any:
        return Int8(part.weight, part.bias) if isinstance(part, Dense) else part

    return replace(decoder, layers=[changed(layer, change) for layer in decoder.layers], head=change("head", decoder.head))
