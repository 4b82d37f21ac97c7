"""Held-out loss of a causal language model on a stream of documents."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from paceline.data.corpus import Stream
from paceline.objectives.xent import xent
from paceline.train.forward import chunks, hidden_states
from paceline.train.packing import Batch, Piece, layout

__all__ = ["HeldOut", "held_out_loss"]


@dataclass(frozen=True)
class HeldOut:
    """``loss`` in nats per token, ``bits_per_byte`` of the text, and how many ``tokens`` and ``bytes`` were
    measured."""

    loss: float
    bits_per_byte: float
    tokens: int
    bytes: int


@torch.inference_mode()
def held_out_loss(model: PreTrainedModel, stream: Stream, context: int = 1024, rows: int = 4, autocast: bool = True) -> HeldOut:
    """Loss on all of ``stream``, each document in windows of ``context`` tokens without overlap, ``rows`` windows at
    once.

    Every token but a document's first is predicted, so bits per byte (nats / ln 2 / bytes of text) compare across
    tokenizers. The first tokens of a window see little context: an upper bound on what overlapping windows would give.
    """
    was_training = model.training
    model.eval()
    nats, scored = 0.0, 0
    with torch.autocast(model.device.type, torch.bfloat16, enabled=autocast):
        for batch in _windows(stream, context, rows):
            batch = Batch(*(part.to(model.device) for part in batch))
            hidden, labels = hidden_states(model, batch), batch.labels.flatten()
            for part in chunks(len(labels)):
                nats += xent(model.get_output_embeddings()(hidden[part]), labels[part]).parts["xent"]
            scored += int((labels >= 0).sum())
    model.train(was_training)
    return HeldOut(nats / max(scored, 1), nats / math.log(2) / max(stream.bytes, 1), scored, stream.bytes)


def _windows(stream: Stream, context: int, rows: int) -> Iterator[Batch]:
    """Windows sorted by length, ``rows`` at a time."""
    pieces = []
    for start, stop in zip(stream.starts[:-1].tolist(), stream.starts[1:].tolist(), strict=True):
        pieces += [Piece(at, min(context, stop - at)) for at in range(start, stop, context)]
    pieces.sort(key=lambda piece: piece.length)
    return (_padded(stream, pieces[i : i + rows]) for i in range(0, len(pieces), rows))


def _padded(stream: Stream, pieces: list[Piece]) -> Batch:
    """Windows as rows as long as the longest; what follows a shorter one has no labels, and comes too late to be
    seen."""
    tokens = torch.zeros(len(pieces), pieces[-1].length, dtype=torch.int64)
    labels = torch.full_like(tokens, -100)
    for i, piece in enumerate(pieces):
        row = layout(stream, [piece])
        tokens[i, : piece.length], labels[i, : piece.length] = torch.from_numpy(row[0]), torch.from_numpy(row[1])
    positions = torch.arange(tokens.shape[1]).expand_as(tokens)
    return Batch(tokens, labels, positions, torch.zeros_like(tokens))
