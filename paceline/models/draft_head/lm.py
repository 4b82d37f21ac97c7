"""A draft head at work beside its target: what drafting needs of an `LM`, on the lean or the fused forward."""

import torch
from torch import nn

from paceline.lm.cost import Costs
from paceline.lm.decoder import Cross, Decoder, Heads, Layer, Norm, rounded
from paceline.lm.forwards import fused, lean
from paceline.lm.kv import KV
from paceline.lm.lm import LM
from paceline.lm.protocols import Forward
from paceline.lm.weights.dense import Dense, joined
from paceline.models.draft_head.block import Block
from paceline.models.draft_head.head import Head
from paceline.models.draft_head.shape import HeadShape

__all__ = ["HeadLM"]

class HeadLM:
    """A head at work, with what drafting needs of `LM`: its rows' slots name the target's slots they read (`Slot.reads`).

    int8: its weights in int8 where the forward is fused: a quarter of the bytes, and hardly another draft.
    """

    exact, fingerprint = False, 0
    forward, prefill, extend = LM.forward, LM.prefill, LM.extend

    def __init__(self, head: Head, target: LM, int8: bool = False) -> None:
        self.model, self.costs = head, Costs(self, target if head.shape.reads else None)
        self.context = self.reach = min(head.shape.context, target.reach)
        if head.shape.shared:
            head.borrow(*target.source.embeddings())
        self.vocab = head.output.shape[0]
        self.dtype, self.device, self.tokenizer = head.output.dtype, head.output.device, target.tokenizer
        decoder = described(head, target.text_config.num_hidden_layers, self.context)
        compiled = target.backend.name == "fused" and not fused.fits(decoder)
        self.backend: Forward = fused.build(rounded(decoder) if int8 else decoder) if compiled else lean.build(decoder)

    def cache(self, exact: bool = False) -> KV:
        return KV(quantum=64, limit=self.context + 512, window=self.model.shape.window)


@torch.no_grad()
def described(head: Head, layers: int, context: int) -> Decoder:
    """The head as a decoder, for a target of so many layers."""
    s = head.shape
    blocks = [_layer(block, s, layers - s.reads[i] if s.reads else None) for i, block in enumerate(head.blocks)]
    own, other = head.rotaries
    return Decoder(blocks, Dense(head.embedding.detach()), norm(head.norm), Dense(head.output.detach()),
                   Heads(s.heads, s.kv_heads, s.head_dim), own, context, other if s.reads else None)


def _layer(block: Block, s: HeadShape, reads: int | None) -> Layer:
    """reads: the target's layer that it reads, from the front."""
    c, a, m = block.cross_attn, block.self_attn, block.mlp
    cross = None if c is None or reads is None else Cross(
        q=stacked(c.q_proj), out=stacked(c.o_proj), norm=norm(c.norm), q_norm=norm(c.q_norm),
        heads=Heads(s.target_heads, s.target_kv_heads, s.target_head_dim), scale=s.target_head_dim**-0.5, layer=reads,
    )  # fmt: skip
    return Layer(
        qkv=stacked(a.q_proj, a.k_proj, a.v_proj), out=stacked(a.o_proj), gate_up=stacked(m.gate_proj, m.up_proj),
        down=stacked(m.down_proj), act="silu", before_attention=norm(block.input_layernorm), after_attention=None,
        before_mlp=norm(block.post_attention_layernorm), after_mlp=None, q_norm=None, k_norm=None, window=s.window or None,
        scale=s.head_dim**-0.5, cross=cross,
    )  # fmt: skip


def stacked(*linears: nn.Linear) -> Dense:
    return joined([m.weight.detach() for m in linears], [None if m.bias is None else m.bias.detach() for m in linears])


def norm(module: nn.RMSNorm | None) -> Norm | None:
    return None if module is None else Norm(module.weight.detach(), module.eps or 0.0)
