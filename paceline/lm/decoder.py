"""A decoder-only model as data: what forwards of our own compute, whoever described it.

A transformers module, a folder of weights or a draft head is described once, by its source (`sources/`); the lean and the
compiled forward consume the description and know no module. Models that cannot be described run on the stock forward.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch.nn.functional import rms_norm

from paceline.lm.rotary import Rope
from paceline.lm.weights import Table, Weights
from paceline.lm.weights.dense import Dense
from paceline.lm.weights.int8 import Int8

__all__ = ["Cross", "Decoder", "Heads", "Layer", "Norm", "rounded"]


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

    embed: [ids, W]. head: [V, W]. rope: rotation of queries and keys; cross_rope: of queries that read
    another model's keys. context: positions stay below it.
    """

    layers: Sequence[Layer]
    embed: Table
    norm: Norm | None
    head: Weights
    heads: Heads
    rope: Rope
    context: int
    cross_rope: Rope | None = None

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
    def rounding(self) -> bool:
        """Whether some of its linears round what goes into them."""
        return any(getattr(part, "activations", "float") != "float" for layer in self.layers for part in vars(layer).values())

    @property
    def dtype(self) -> torch.dtype:
        return self.head.dtype


def rounded(decoder: Decoder) -> Decoder:
    """The same decoder with its dense linears in int8, the embedding aside: for drafting."""

    def round_(weights: Weights) -> Weights:
        return Int8(weights.weight, weights.bias) if isinstance(weights, Dense) else weights

    def layer(old: Layer) -> Layer:
        cross = None if old.cross is None else replace(old.cross, q=round_(old.cross.q), out=round_(old.cross.out))
        return replace(old, qkv=round_(old.qkv), out=round_(old.out), gate_up=round_(old.gate_up), down=round_(old.down),
                       cross=cross)

    return replace(decoder, layers=[layer(old) for old in decoder.layers], head=round_(decoder.head))
