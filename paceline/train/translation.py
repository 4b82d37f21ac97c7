"""Trains translation models on encoded pairs, and lets a teacher write what a model in one pass learns from.

Batches, masks, orders and dropout depend on the step's number alone, so what is killed goes on to the same weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from paceline.files import read_json, replace_json
from paceline.models.translation.body import padded
from paceline.models.translation.config import EOS, MASK, PAD
from paceline.models.translation.markov import Markov
from paceline.models.translation.nat import Nat
from paceline.models.translation.search import beam
from paceline.objectives import Loss
from paceline.objectives.xent import xent
from paceline.train.loop import Progress
from paceline.train.schedule import falling

__all__ = ["Encoded", "Gradient", "Sentences", "batches", "distilled", "fading", "token_by_token", "writes_at_once"]

POOL = 20  # batches whose pairs are sorted together, by the longer side; by one side alone a third of the other is padding
PART = 512  # sentences that the teacher translates between two saves
ROWS = 32  # of them at once

Objective = Callable[[Tensor, Tensor], Loss]
Gradient = Callable[[Any, bool], tuple[dict[str, float], int]]
Encoded = tuple[list[list[int]], list[list[int]]]


class Sentences(NamedTuple):
    """A batch: ids ``[B, S]`` and ``[B, T]``, the number that its random choices are drawn by, and the step it is for."""

    source: Tensor
    target: Tensor
    seed: int
    step: int = 0

    @property
    def tokens(self) -> Tensor:
        """What the loop counts."""
        return self.target


def batches(pairs: Encoded, rows: int, seed: int) -> Callable[[int], Sentences]:
    """A step's number -> its batch of so many pairs, of about one length; each epoch is an order of its own of all pairs."""
    sizes = [(max(both), sum(both)) for both in (tuple(map(len, pair)) for pair in zip(*pairs, strict=True))]
    count = -(-len(sizes) // rows)

    @lru_cache(2)
    def epoch(number: int) -> list[np.ndarray]:
        rng = np.random.default_rng((seed, number))
        order, size = rng.permutation(len(sizes)), POOL * rows
        pools = (sorted(order[i : i + size], key=lambda j: sizes[j]) for i in range(0, len(order), size))
        cut = [np.array(pool[i : i + rows]) for pool in pools for i in range(0, len(pool), rows)]
        return [cut[i] for i in rng.permutation(count)]

    def batch(step: int) -> Sentences:
        chosen = epoch(step // count)[step % count]
        rows, answers = (padded([side[i] for i in chosen]) for side in pairs)
        return Sentences(rows, answers, seed * 1_000_003 + step, step)

    return batch


def token_by_token(model: Markov, orders: Sequence[int], smoothing: float) -> Gradient:
    """How to train a `Markov`: cross-entropy of the next token. orders: one of them is drawn for each batch, so that one model
    serves all; empty: the configuration's.
    """

    def gradient(batch: Sentences, autocast: bool) -> tuple[dict[str, float], int]:
        order = int(np.random.default_rng(batch.seed).choice(orders)) if orders else None
        with torch.random.fork_rng(), torch.autocast(batch.target.device.type, torch.bfloat16, enabled=autocast):
            torch.manual_seed(batch.seed)
            logits = model(batch.source, batch.target, order)
        ends = (batch.target != PAD).sum(1, keepdim=True)
        labels = pad(batch.target, (0, 1), value=PAD).scatter(1, ends, EOS)
        loss = xent(logits.flatten(0, 1), labels.masked_fill(labels == PAD, -1).flatten(), smoothing=smoothing)
        return _given(loss, loss.total.new_zeros(()), int((labels != PAD).sum()))

    return gradient


def writes_at_once(model: Nat, objective: Objective | None, smoothing: float) -> Gradient:
    """How to train a `Nat`: an objective over all places when all are masked, such as OaXE; None: cross-entropy where 1 to L
    tokens of L are masked (CMLM). The length's loss is added, weight 1; all is divided by the number of masked places.
    """

    def gradient(batch: Sentences, autocast: bool) -> tuple[dict[str, float], int]:
        real = batch.target != PAD
        with torch.random.fork_rng(), torch.autocast(batch.target.device.type, torch.bfloat16, enabled=autocast):
            torch.manual_seed(batch.seed)
            hidden = real if objective else masked(real)
            logits, lengths = model(batch.source, batch.target.masked_fill(hidden, MASK))
        labels = batch.target.masked_fill(~hidden, -1)
        loss = objective(logits, labels) if objective else xent(logits.flatten(0, 1), labels.flatten(), smoothing=smoothing)
        length = -lengths.gather(1, real.sum(1, keepdim=True)).sum()
        return _given(loss, length, int(hidden.sum()))

    return gradient


def fading(model: Nat, objective: Any, shapes: dict[str, str], steps: int) -> Gradient:
    """`writes_at_once` with an objective some of whose options fall over so many steps, from 1 to their own values, each by its
    shape (`schedule.falling`): ``mix`` for joint training (Du et al. 2021), ``curriculum`` for phrases that shrink.
    """

    def gradient(batch: Sentences, autocast: bool) -> tuple[dict[str, float], int]:
        shares = {name: falling(batch.step, steps, shape) for name, shape in shapes.items()}
        now = {name: getattr(objective, name) * (1 - share) + share for name, share in shares.items()}
        return writes_at_once(model, replace(objective, **now), 0.0)(batch, autocast)

    return gradient


def masked(real: Tensor) -> Tensor:
    """Of each sentence 1 to L places, any number as likely as any other, any places."""
    sizes = real.sum(1, keepdim=True)
    number = 1 + (torch.rand(sizes.shape, device=real.device) * sizes).long().minimum(sizes - 1)
    ranks = torch.rand(real.shape, device=real.device).masked_fill(~real, 2.0).argsort(1).argsort(1)
    return ranks < number


def _given(loss: Loss, length: Tensor, count: int) -> tuple[dict[str, float], int]:
    ((loss.total + length) / count).backward()
    return {**loss.parts, **({"length": float(length.detach())} if length.requires_grad else {})}, count


def distilled(teacher: Markov, pairs: Encoded, folder: Path, width: int, report: Callable[[Progress], None]) -> Encoded:
    """The same sources with the teacher's translations by beam search; where it has none to give, the reference stays (Kim and
    Rush 2016, arXiv 1606.07947). Written in parts, so that a run that is killed loses little.
    """
    (source, target), written, began = pairs, list[list[int]](), time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    teacher.eval()
    for start in range(0, len(source), PART):
        file = folder / f"part-{start:08d}.json"
        if not file.exists():
            replace_json(file, _translated(teacher, source[start : start + PART], width))
        written += read_json(file)
        spent = time.monotonic() - began
        report(Progress(len(written), len(source), {}, sum(map(len, written)) / max(spent, 1e-9), spent))
    return source, [some or reference for some, reference in zip(written, target, strict=True)]


def _translated(teacher: Markov, source: list[list[int]], width: int) -> list[list[int]]:
    """Sentences of about one length together."""
    order = sorted(range(len(source)), key=lambda i: len(source[i]))
    found: list[list[int]] = [[] for _ in source]
    for start in range(0, len(order), ROWS):
        rows = order[start : start + ROWS]
        for i, candidate in zip(rows, beam(teacher, padded([source[i] for i in rows]), width), strict=True):
            found[i] = candidate.tokens
    return found
