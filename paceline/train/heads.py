"""Training draft heads beside a frozen target: one forward of the target serves all heads, so ablations see identical batches.

What a head may read in training is what it will find at work: when it drafts the k-th token of a round, the target has cached all
keys up to the last committed token, k before the drafting position. ``block_mask`` makes every such gap as frequent as any other.
Source: Du et al., GliDe with a CaPE (arXiv 2402.02082) and its official code's mask in blocks. The ablation's causal mask lets a
head read the target's state at its own position, which is brilliant in training and useless at work. ``shift_mask`` is the way of
LongSpec (Yang et al., arXiv 2502.17421, section 3.2), one gap for a whole text; there it is a shift of queries against keys that
needs no mask, here, where texts are packed and masked anyway, a mask. ``anchored`` are LongSpec's anchor-offset positions (3.1).
Departures: the gap is drawn for each row instead of once a batch, and reaches the head's whole block instead of 4.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from paceline.models.draft_head.head import Head
from paceline.train.attention import MEMORY, attend, use_block_attention
from paceline.train.forward import Gradient, Objective, chunks, hidden_states
from paceline.train.loop import Loop, Progress, train
from paceline.train.packing import Batch, document_mask
from paceline.train.parallel import Team

__all__ = ["MASKS", "Beside", "agreeing", "agreement", "anchored", "block_mask", "head_gradient", "shift_mask", "train_heads"]

ANCHORS = 4  # tokens of a text that keep their positions: attention's sinks stay where the target learned them


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


def shift_mask(batch: Batch, block: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """A token reads its document's keys up to ``j`` before itself, ``j`` from 1 to ``block`` for a whole row; the first ``j``
    tokens read nothing. ``j`` depends on the row's tokens alone, so a run that goes on draws the same.
    """
    p, gap = batch.positions, 1 + batch.tokens.sum(1)[:, None, None] % block
    seen = (batch.documents[:, :, None] == batch.documents[:, None, :]) & (p[:, None, :] <= p[:, :, None] - gap)
    return torch.zeros(seen.shape, dtype=dtype, device=p.device).masked_fill_(~seen, -torch.inf)[:, None]


def anchored(batch: Batch, longest: int) -> Tensor:
    """Positions ``[B, T]`` as if each row's texts had been longer: all but the first four tokens of a text are moved on by one
    random offset, so far that none reaches ``longest``. The offset depends on the row's tokens alone.
    """
    room = (longest - 1 - batch.positions.amax(1, keepdim=True)).clamp_min(0)
    offset = (batch.tokens.sum(1, keepdim=True) * 2654435761 % 4294967296) * (room + 1) // 4294967296
    return batch.positions + torch.where(batch.positions >= ANCHORS, offset, 0)


MASKS: dict[str, Callable[[Batch, int, torch.dtype], Tensor]] = {"block": block_mask, "causal": causal_mask, "shift": shift_mask}


@dataclass(frozen=True)
class Beside:
    """Heads beside their target, and how they learn: ``masks`` names each one's cross-attention mask, ``longest`` above 0 lets
    positions be `anchored` below it, ``begun``: the heads have been trained before and go on.
    """

    target: PreTrainedModel
    heads: Mapping[str, Head]
    masks: Mapping[str, str]
    objective: Objective
    longest: int = 0
    begun: bool = False


def train_heads(beside: Beside, batches: Callable[[int], Batch], loop: Loop, report: Callable[[Progress], None] = lambda p: None,
                team: Team | None = None) -> float:
    """Train heads for ``loop.steps`` steps, resumable; returns the seconds it took.

    A target's keys and values may be a hundred times as large as what a fresh head adds to its residual stream, and the
    optimiser's steps do not know of it. So heads learn on keys and values divided by their root mean square over the first batch,
    and at the end their projections are divided instead, which is the same; those of heads that had begun are multiplied first.
    (Measured: without it a head that reads learned slower than one that does not.)
    """
    prepare(beside.target, beside.heads)
    scales = measured_scales(beside.target, batches(0))
    for head in beside.heads.values() if beside.begun else ():
        fold(head, {back: (1 / keys, 1 / values) for back, (keys, values) in scales.items()})
    modules = nn.ModuleDict({name.replace(".", "_"): head for name, head in beside.heads.items()})
    gradient = (team or Team()).gradient(head_gradient(beside, scales), modules.parameters())
    seconds = train(modules, batches, gradient, loop, report=report)
    for head in beside.heads.values():
        fold(head, scales)
    return seconds


Scales = Mapping[int, tuple[float, float]]


@torch.no_grad()
def measured_scales(target: PreTrainedModel, batch: Batch) -> dict[int, tuple[float, float]]:
    """Layer, counted from the end -> root mean square of the target's keys and values."""
    _, memory = read(target, Batch(*(part.to(target.device) for part in batch)), batch.positions.to(target.device))
    return {len(memory) - layer: tuple(float(x.square().mean().sqrt().clamp_min(1e-6)) for x in pair)  # type: ignore[misc]
            for layer, pair in memory.items()}


@torch.no_grad()
def fold(head: Head, scales: Scales) -> None:
    """Divide the projections around cross-attention, instead of the keys and values it read while learning."""
    layers: Any = head.layers
    for back, block in zip(head.shape.reads, layers, strict=False):
        (keys, values), cross = scales[back], block.cross_attn
        for tensor in cross.q_norm.parameters() if cross.q_norm is not None else cross.q_proj.parameters():
            tensor.div_(keys)
        cross.o_proj.weight.div_(values)


def head_gradient(beside: Beside, scales: Scales | None = None) -> Gradient:
    """One forward of the target without a gradient, then every head's objective against its logits, on keys and values divided by
    ``scales``. Losses are named ``<head>.<part>``.
    """
    target, heads, masks, objective, longest = beside.target, beside.heads, beside.masks, beside.objective, beside.longest
    prepare(target, heads)

    def gradient(batch: Batch, autocast: bool) -> tuple[dict[str, float], int]:
        batch = Batch(*(part.to(target.device) for part in batch))
        labels, scored = batch.labels.flatten(), max(1, int((batch.labels >= 0).sum()))
        parts: dict[str, float] = {}
        with torch.autocast(target.device.type, torch.bfloat16, enabled=autocast):
            positions = anchored(batch, longest) if longest else batch.positions
            taught, memory = read(target, batch, positions)
            if scales is not None:
                for back in {back for head in heads.values() for back in head.shape.reads}:
                    pair = zip(memory[len(memory) - back], scales[back], strict=True)
                    memory[len(memory) - back] = tuple(x / scale for x, scale in pair)  # type: ignore[assignment]
            outs = {name: reading(head, batch, positions, memory, masks[name]) for name, head in heads.items()}
            leaves = {name: out.detach().requires_grad_() for name, out in outs.items()}
            for rows in chunks(len(labels)):
                with torch.no_grad():
                    wanted = target.get_output_embeddings()(taught[rows])
                for name, head in heads.items():
                    loss = objective(head.logits(leaves[name][rows]), labels[rows], wanted)
                    (loss.total / scored).backward()
                    for part, value in loss.parts.items():
                        parts[f"{name}.{part}"] = parts.get(f"{name}.{part}", 0.0) + value
        for name, out in outs.items():
            out.backward(leaves[name].grad)
        return parts, scored

    return gradient


def prepare(target: PreTrainedModel, heads: Mapping[str, Head]) -> None:
    """A target to read, and heads that borrow from it what they share."""
    use_block_attention(target)
    target.eval().requires_grad_(False)
    shared: Any = target.get_input_embeddings(), target.get_output_embeddings()
    for head in heads.values():
        head.borrow(*(module.weight.detach() for module in shared))


@torch.no_grad()
def read(target: PreTrainedModel, batch: Batch, positions: Tensor) -> tuple[Tensor, dict[int, tuple[Tensor, Tensor]]]:
    """The target's last hidden states ``[B * T, D]`` and every layer's rotated keys and values."""
    memory: dict[int, tuple[Tensor, Tensor]] = {}
    return hidden_states(target, batch._replace(positions=positions), **{MEMORY: memory}), memory


def reading(head: Head, batch: Batch, positions: Tensor, memory: Mapping[int, tuple[Tensor, Tensor]], mask: str) -> Tensor:
    """A head's hidden states ``[B * T, W]``, every token reading what ``mask`` lets it."""
    shape, seen = head.shape, MASKS[mask](batch, head.shape.block, torch.float32)
    own = document_mask(batch.documents, torch.float32)
    if shape.window:
        far = batch.positions[:, :, None] - batch.positions[:, None, :] >= shape.window
        own.masked_fill_(far[:, None], -torch.inf)
    # Who may read nothing gets zeros; the softmax needs a key all the same.
    blind = (seen == -torch.inf).all(-1)
    seen[..., 0].masked_fill_(blind, 0.0)

    def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor, scale: float) -> Tensor:
        out = attend(q, k, v, mask, scale)
        return out.masked_fill(blind[:, 0, :, None, None], 0.0) if mask is seen else out

    read = [memory[len(memory) - back] for back in shape.reads]
    return head(batch.tokens, positions, own, read, seen, attention).flatten(0, 1)


@torch.no_grad()
def agreement(target: PreTrainedModel, heads: Mapping[str, Head], batches: list[Batch], autocast: bool) -> dict[str, list[float]]:
    """For every head the share of tokens on which its likeliest token is the target's, at gap 1, 2, … to the newest key it reads.

    Teacher-forced on held-out text, always under the block mask, as at work: a head trained otherwise shows here. The first block
    of a document, which reads its own position, is left out.
    """
    hits = {name: torch.zeros(head.shape.block) for name, head in heads.items()}
    tried = {name: torch.zeros(head.shape.block) for name, head in heads.items()}
    for batch, agreed in agreeing(target, heads, batches, autocast):
        for name, head in heads.items():
            block = head.shape.block
            gap, late = batch.positions.flatten() % block, batch.positions.flatten() >= block
            for depth in range(block):
                here = late & (gap == depth) & (batch.labels.flatten() >= 0)
                hits[name][depth] += int(agreed[name][here].sum())
                tried[name][depth] += int(here.sum())
    return {name: (hits[name] / tried[name].clamp_min(1)).tolist() for name in heads}


@torch.no_grad()
def agreeing(target: PreTrainedModel, heads: Mapping[str, Head], batches: list[Batch],
             autocast: bool) -> Iterator[tuple[Batch, dict[str, Tensor]]]:
    """Each batch, with every head's ``[B * T]`` of where its likeliest token is the target's, under the block mask."""
    prepare(target, heads)
    for batch in batches:
        batch = Batch(*(part.to(target.device) for part in batch))
        with torch.autocast(target.device.type, torch.bfloat16, enabled=autocast):
            taught, memory = read(target, batch, batch.positions)
            wanted = torch.cat([target.get_output_embeddings()(taught[rows]).argmax(-1) for rows in chunks(len(taught))])
            outs = {name: reading(head, batch, batch.positions, memory, "block") for name, head in heads.items()}
            found = {name: torch.cat([heads[name].logits(out[rows]).argmax(-1) for rows in chunks(len(out))])
                     for name, out in outs.items()}
        yield batch, {name: tokens == wanted for name, tokens in found.items()}
