"""How near heads are to their target by how far into a text, teacher-forced, under the block mask of drafting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from transformers import PreTrainedModel

from paceline.models.draft_head.head import Head
from paceline.train.forward import chunks
from paceline.train.heads import agreeing, prepare, read, reading
from paceline.train.packing import Batch
from paceline.train.precision import fast_dtype

__all__ = ["as_batch", "by_position", "divergence"]


def as_batch(text: Sequence[int]) -> Batch:
    """A row of one text; its last token has no label."""
    tokens = torch.tensor([list(text)])
    labels = torch.cat((tokens[:, 1:], torch.full((1, 1), -100)), 1)
    return Batch(tokens, labels, torch.arange(tokens.shape[1])[None], torch.zeros_like(tokens))


def by_position(model: PreTrainedModel, heads: dict[str, Head], batches: list[Batch],
                edges: Sequence[int]) -> dict[str, list[float]]:
    """Head -> percent of tokens that are the target's between each two edges."""
    hits, tried = {name: torch.zeros(len(edges) - 1) for name in heads}, torch.zeros(len(edges) - 1)
    for batch, agreed in agreeing(model, heads, batches, fast_dtype("cpu") is torch.bfloat16):
        part, scored = parts(batch, edges, next(iter(heads.values())).shape.block)
        tried += torch.bincount(part[scored], minlength=len(tried))
        for name in heads:
            hits[name] += torch.bincount(part[scored & agreed[name]], minlength=len(tried))
    return {name: (100 * hits[name] / tried.clamp_min(1)).tolist() for name in heads}


def divergence(model: PreTrainedModel, heads: dict[str, Head], batches: list[Batch],
               edges: Sequence[int]) -> dict[str, list[list[float]]]:
    """Head -> for each batch the mean KL (target || head) in nats between each two edges."""
    found: dict[str, list[list[float]]] = {name: [] for name in heads}
    prepare(model, heads)
    for batch in batches:
        part, scored = parts(batch, edges, next(iter(heads.values())).shape.block)
        tried = torch.bincount(part[scored], minlength=len(edges) - 1).clamp_min(1)
        for name, apart in divergences(model, heads, batch):
            found[name].append((torch.bincount(part[scored], apart[scored], len(edges) - 1) / tried).tolist())
    return found


@torch.no_grad()
def divergences(model: PreTrainedModel, heads: dict[str, Head], batch: Batch) -> Iterator[tuple[str, Tensor]]:
    """Every head's name and KL of each token `[B * T]`."""
    with torch.autocast("cpu", torch.bfloat16, enabled=fast_dtype("cpu") is torch.bfloat16):
        taught, memory = read(model, batch, batch.positions)
        for name, head in heads.items():
            out, apart = reading(head, batch, batch.positions, memory, "block"), []
            for rows in chunks(len(out)):
                wanted = model.get_output_embeddings()(taught[rows]).float().log_softmax(-1)
                law = head.logits(out[rows]).float().log_softmax(-1)
                apart.append((wanted.exp() * (wanted - law)).sum(-1))
            yield name, torch.cat(apart)


def parts(batch: Batch, edges: Sequence[int], block: int) -> tuple[Tensor, Tensor]:
    """For each token the part of the text it is in, and whether it counts: it has a label, and earlier keys to read."""
    part = torch.bucketize(batch.positions.flatten(), torch.tensor(edges[1:-1]), right=True)
    return part, (batch.labels.flatten() >= 0) & (batch.positions.flatten() >= block)
