"""A draft head at work beside its target: what drafting needs of an `LM`, on the lean or the fused forward."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.functional import silu

from paceline.lm.attention import Call
from paceline.lm.cost import Costs
from paceline.lm.forwards import lean
from paceline.lm.forwards.fused import forward as fused
from paceline.lm.kv import KV, Slot
from paceline.lm.lm import LM
from paceline.lm.weights.linear import Dense, fuse
from paceline.models.draft_head.block import Block
from paceline.models.draft_head.head import Head

__all__ = ["HeadLM"]

class HeadLM:
    """A head at work, with what drafting needs of `LM`: its rows' slots name the target's slots they read (`Slot.reads`).

    int8: its weights in int8 where the forward is fused: a quarter of the bytes, and hardly another draft.
    """

    rope_switch = None
    prefill, extend = LM.prefill, LM.extend

    def __init__(self, head: Head, target: LM, int8: bool = False) -> None:
        self.model, self.costs = head, Costs(self, target if head.shape.reads else None)
        self.context = min(head.shape.context, target.rope_switch or target.context)
        head.borrow(target.model)
        self.vocab = head.output.shape[0]
        self.dtype, self.device, self.tokenizer = head.output.dtype, head.output.device, target.tokenizer
        self.lean = leaned(head, target.text_config.num_hidden_layers, self.context)
        self.fused = fused.build(self.lean, head.output.detach(), int8)[0] if target.fused is not None else None

    def cache(self, slots: int = 1, exact: bool = False) -> KV:
        if window := self.model.shape.window:
            return KV(quantum=64, limit=self.context + 512, window=window)
        return KV(quantum=64, limit=self.context + 512)

    def forward(self, kv: KV, slots: Sequence[Slot], tokens: torch.Tensor, parents: Sequence[Sequence[int]] | None = None,
                at: Any = slice(None)) -> torch.Tensor | None:
        """As `LM.forward`."""
        call = Call(kv, slots, tokens.shape[1], parents, False, self.context)
        if self.fused is not None:
            return self.fused(tokens, call, at)
        return self._forward(tokens, call, at)

    @torch.inference_mode()
    def _forward(self, tokens: torch.Tensor, call: Call, at: Any) -> torch.Tensor | None:
        with torch.autocast(self.device.type, enabled=False):
            hidden = self.lean(tokens.to(self.device), call)
            return None if at is None else self.model.logits(hidden[at])


@torch.no_grad()
def leaned(head: Head, layers: int, context: int) -> lean.Lean:
    """The head as a lean forward for a target of so many layers."""
    s = head.shape
    made = []
    for i, block in enumerate(head.layers):
        assert isinstance(block, Block)
        c, a, m = block.cross_attn, block.self_attn, block.mlp
        cross = None if c is None else lean.Cross(
            q=joined(c.q_proj), out=joined(c.o_proj), norm=norm(c.norm), q_norm=norm(c.q_norm), heads=s.target_heads,
            kv_heads=s.target_kv_heads, dim=s.target_head_dim, scale=s.target_head_dim**-0.5, layer=layers - s.reads[i],
        )  # fmt: skip
        made.append(lean.Layer(
            qkv=joined(a.q_proj, a.k_proj, a.v_proj), out=joined(a.o_proj), gate_up=joined(m.gate_proj, m.up_proj),
            down=joined(m.down_proj), act=silu, before_attention=norm(block.input_layernorm), after_attention=None,
            before_mlp=norm(block.post_attention_layernorm), after_mlp=None, q_norm=None, k_norm=None, window=s.window or None,
            scale=s.head_dim**-0.5, cross=cross,
        ))  # fmt: skip
    return lean.Lean(made, head.embedding.detach(), norm(head.norm), lean.Heads(s.heads, s.kv_heads, s.head_dim),
                     head.rotaries[0], context, head.rotaries[1] if s.reads else None)


def joined(*linears: nn.Linear) -> Dense:
    return Dense(*fuse(linears))


def norm(module: nn.RMSNorm | None) -> lean.Norm | None:
    return None if module is None else lean.Norm(module.weight.detach(), module.eps or 0.0)
