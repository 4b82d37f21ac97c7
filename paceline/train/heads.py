"""Training draft heads beside a frozen target: one forward of the target serves all heads, so ablations see identical batches.

What a head may read in training is what it will find at work: when it drafts the k-th token of a round, the target has cached all
keys up to the last committed token, k before the drafting position. ``block_mask`` makes every such gap as frequent as any other.
Source: Du et al., GliDe with a CaPE (arXiv 2402.02082) and its official code's mask in blocks. The ablation's causal mask lets a
head read the target's state at its own position, which is brilliant in training and useless at work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from transformers import PreTrainedModel

from paceline.lm.head import Head
from paceline.train.attention import MEMORY, attend, use_block_attention
from paceline.train.forward import Gradient, Objective, chunks, hidden_states
from paceline.train.packing import Batch, document_mask

__all__ = ["MASKS", "agreement", "block_mask", "head_gradient"]


def block_mask(batch: Batch, block: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Additive ``[B, 1, T, T]``: a token reads its document's keys in earlier blocks of ``block`` tokens; those of the first
    block read all up to themselves, since there is nothing earlier.
    """
    p, number = batch.positions, batch.positions // block
    first = (number[:, :, None] == 0) & (p[:, None, :] <= p[:, :, None])
    seen = (batch.documents[:, :, None] == batch.documents[:, None, :]) & ((number[:, None, :] < number[:, :, None]) | first)
    return torch.zeros(seen.shape, dtype=dtype, device=p.device).masked_fill_(~seen, -torch.inf)[:, None]


def causal_mask(batch: Batch, block: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """The ablation: every key up to the token's own position."""
    return document_mask(batch.documents, dtype)


MASKS: dict[str, Callable[[Batch, int, torch.dtype], Tensor]] = {"block": block_mask, "causal": causal_mask}


def head_gradient(target: PreTrainedModel, heads: Mapping[str, Head], masks: Mapping[str, str], objective: Objective) -> Gradient:
    """How to train heads: one forward of the target without a gradient, then every head's objective against its logits.

    masks: for each head the name of its cross-attention mask. Losses are named ``<head>.<part>``.
    """
    use_block_attention(target)
    target.eval().requires_grad_(False)

    def gradient(batch: Batch, autocast: bool) -> tuple[dict[str, float], int]:
        batch = Batch(*(part.to(target.device) for part in batch))
        labels, scored = batch.labels.flatten(), max(1, int((batch.labels >= 0).sum()))
        parts: dict[str, float] = {}
        with torch.autocast(target.device.type, torch.bfloat16, enabled=autocast):
            taught, memory = read(target, batch)
            outs = {name: reading(head, batch, memory, masks[name]) for name, head in heads.items()}
            leaves = {name: out.detach().requires_grad_() for name, out in outs.items()}
            for rows in chunks(len(labels)):
                with torch.no_grad():
                    wanted = target.get_output_embeddings()(taught[rows])
                for name, head in heads.items():
                    loss = objective(head.lm_head(leaves[name][rows]), labels[rows], wanted)
                    (loss.total / scored).backward()
                    for part, value in loss.parts.items():
                        parts[f"{name}.{part}"] = parts.get(f"{name}.{part}", 0.0) + value
        for name, out in outs.items():
            out.backward(leaves[name].grad)
        return parts, scored

    return gradient


@torch.no_grad()
def read(target: PreTrainedModel, batch: Batch) -> tuple[Tensor, dict[int, tuple[Tensor, Tensor]]]:
    """The target's last hidden states ``[B * T, D]`` and every layer's rotated keys and values."""
    memory: dict[int, tuple[Tensor, Tensor]] = {}
    return hidden_states(target, batch, document_mask(batch.documents, torch.float32), **{MEMORY: memory}), memory


def reading(head: Head, batch: Batch, memory: Mapping[int, tuple[Tensor, Tensor]], mask: str) -> Tensor:
    """A head's hidden states ``[B * T, W]``, every token reading what ``mask`` lets it."""
    shape = head.shape
    own = document_mask(batch.documents, torch.float32)
    seen = MASKS[mask](batch, shape.block, torch.float32)
    read = [memory[len(memory) - back] for back in shape.reads]
    return head(batch.tokens, batch.positions, own, read, seen, attend).flatten(0, 1)


@torch.no_grad()
def agreement(target: PreTrainedModel, heads: Mapping[str, Head], batches: list[Batch], autocast: bool) -> dict[str, list[float]]:
    """For every head the share of tokens on which its likeliest token is the target's, at gap 1, 2, … to the newest key it reads.

    Teacher-forced on held-out text, always under the block mask, as at work: a head trained otherwise shows here. The first block
    of a document, which reads its own position, is left out.
    """
    use_block_attention(target)
    hits = {name: torch.zeros(head.shape.block) for name, head in heads.items()}
    tried = {name: torch.zeros(head.shape.block) for name, head in heads.items()}
    for batch in batches:
        batch = Batch(*(part.to(target.device) for part in batch))
        with torch.autocast(target.device.type, torch.bfloat16, enabled=autocast):
            taught, memory = read(target, batch)
            wanted = torch.cat([target.get_output_embeddings()(taught[rows]).argmax(-1) for rows in chunks(len(taught))])
            for name, head in heads.items():
                out = reading(head, batch, memory, "block")
                found = torch.cat([head.lm_head(out[rows]).argmax(-1) for rows in chunks(len(out))])
                block = head.shape.block
                gap, late = batch.positions.flatten() % block, batch.positions.flatten() >= block
                for depth in range(block):
                    here = late & (gap == depth) & (batch.labels.flatten() >= 0)
                    hits[name][depth] += int((found[here] == wanted[here]).sum())
                    tried[name][depth] += int(here.sum())
    return {name: (hits[name] / tried[name].clamp_min(1)).tolist() for name in heads}
