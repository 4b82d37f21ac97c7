"""One forward and backward pass of a causal LM over packed documents, sparing with memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from paceline.objectives import Loss
from paceline.train.attention import use_block_attention
from paceline.train.masks import attention_masks
from paceline.train.packing import Batch

__all__ = ["Gradient", "Objective", "add_gradient", "chunks", "hidden_states", "language"]

Objective = Callable[[Tensor, Tensor, "Tensor | None"], Loss]
Gradient = Callable[[Batch, bool], "tuple[dict[str, float], int]"]
_CHUNK_TOKENS = 1024


def language(model: PreTrainedModel, objective: Objective, teacher: PreTrainedModel | None = None) -> Gradient:
    """How to train a causal LM: its objective on a batch, against ``teacher``'s logits where one is given."""
    for network in (model, teacher):
        if network is not None:
            use_block_attention(network)
    return lambda batch, autocast: add_gradient(model, batch, objective, teacher, autocast)


def hidden_states(model: PreTrainedModel, batch: Batch, **options: Any) -> Tensor:
    """The last layer's output ``[B * T, D]``, before the head; no token sees another document, nor beyond its layer's window."""
    half = torch.is_autocast_enabled(model.device.type)
    masks = attention_masks(model, batch, torch.bfloat16 if half else model.dtype)
    body = model.get_decoder()
    out = body(input_ids=batch.tokens, attention_mask=masks, position_ids=batch.positions, use_cache=False, **options)
    return out.last_hidden_state.flatten(0, 1)


def chunks(count: int) -> Iterator[slice]:
    """Slices of the rows whose logits are held at once: all of 8,192 x 4,096 in fp32 would be 134 MB, several times
    over."""
    return (slice(start, start + _CHUNK_TOKENS) for start in range(0, count, _CHUNK_TOKENS))


def add_gradient(
    model: PreTrainedModel,
    batch: Batch,
    objective: Objective,
    teacher: PreTrainedModel | None = None,
    autocast: bool = True,
) -> tuple[dict[str, float], int]:
    """Add the gradient of the mean objective per scored token; returns (sums by part, number of scored tokens).

    The head runs chunk by chunk, forward and backward at once, so logits never exist for the whole batch. Weights stay
    fp32; with ``autocast`` matrix products are in bf16.
    """
    device = model.device
    batch = Batch(*(part.to(device) for part in batch))
    labels, scored = batch.labels.flatten(), max(1, int((batch.labels >= 0).sum()))
    parts: dict[str, float] = {}
    with torch.autocast(device.type, torch.bfloat16, enabled=autocast):
        hidden = hidden_states(model, batch)
        taught = None if teacher is None else _without_gradient(teacher, batch)
        leaf = hidden.detach().requires_grad_()
        for rows in chunks(len(labels)):
            wanted = None if teacher is None or taught is None else _logits(teacher, taught[rows])
            loss = objective(model.get_output_embeddings()(leaf[rows]), labels[rows], wanted)
            (loss.total / scored).backward()
            parts = {name: parts.get(name, 0.0) + value for name, value in loss.parts.items()}
    hidden.backward(leaf.grad)
    return parts, scored


@torch.no_grad()
def _without_gradient(model: PreTrainedModel, batch: Batch) -> Tensor:
    return hidden_states(model, batch)


@torch.no_grad()
def _logits(model: PreTrainedModel, hidden: Tensor) -> Tensor:
    return model.get_output_embeddings()(hidden)
