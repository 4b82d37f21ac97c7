"""What the order-agnostic objectives add to a training step, in CPU time of the process."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import torch
from torch import Tensor

from paceline.models.translation.config import MASK, PAD, TranslationConfig
from paceline.models.translation.nat import Nat
from paceline.objectives import Loss
from paceline.objectives._assign import assign
from paceline.objectives._reordered import one_hot, reordered
from paceline.objectives.oaxe import Oaxe
from paceline.recipes.reproduce._free_order import Arm, Sizes, learning, small
from paceline.recipes.reproduce._grammar import Grammar
from paceline.train.muon import Muon, partition
from paceline.train.translation import Sentences, writes_at_once

__all__ = ["ARMS", "overhead"]

ARMS = ("xe", "oaxe", "ngram_oaxe:n=2")
ROUNDS = 8


class Watched:
    """OaXE that adds up the CPU seconds of its matching."""

    seconds = 0.0

    def __call__(self, logits: Tensor, target: Tensor) -> Loss:
        return reordered(logits, target, Oaxe(), self.weigh)

    def weigh(self, costs: Tensor, sizes: Tensor) -> Tensor:
        began = time.process_time()
        order = assign(costs, sizes)
        self.seconds += time.process_time() - began
        return one_hot(order)


def overhead(fast: bool) -> dict[str, dict[str, float]]:
    """The grammar's model and batch, and a small translator's: 4,000 subwords, 128 sentences of 8 to 24."""
    sizes = Sizes()
    found = {"the grammar's": spent(small(sizes, 0), Grammar().batch(sizes.rows, 0, 0), 1 if fast else ROUNDS)}
    if not fast:
        config = TranslationConfig(vocabulary=4000, width=128, ffn=512, dropout=0.0)
        found["V = 4000, B = 128, T = 16"] = spent(Nat(config), sentences(4000, 128, 16), ROUNDS)
    return found


def sentences(vocabulary: int, rows: int, length: int) -> Sentences:
    """Random ones, half as long to half as long again."""
    random = torch.Generator().manual_seed(0)
    ids = torch.randint(MASK + 1, vocabulary, (rows, length * 3 // 2), generator=random, dtype=torch.long, device="cpu")
    sizes = torch.randint(length // 2, length * 3 // 2 + 1, (rows, 1), generator=random, dtype=torch.long, device="cpu")
    ids = ids.masked_fill(torch.arange(ids.shape[1], dtype=torch.long, device="cpu") >= sizes, PAD)
    return Sentences(ids, ids, 0)


def spent(model: Nat, batch: Sentences, rounds: int) -> dict[str, float]:
    """Median CPU milliseconds of a step with each objective, in turn, and the share of an OaXE step that its matching takes."""
    optimizer, watched = Muon(*partition(model)), Watched()
    steps: dict[str, Any] = {name: learning(model, Arm(name, rounds)) for name in ARMS}
    steps["matching"] = writes_at_once(model, watched, 0.0)
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 1):
        for name, gradient in steps.items():
            began, watched.seconds = time.process_time(), 0.0
            gradient(batch, False)
            optimizer.step()
            optimizer.zero_grad()
            whole = time.process_time() - began
            taken[name].append(watched.seconds / whole if name == "matching" else 1000 * whole)
    return {name: median(values[1:]) for name, values in taken.items()}  # the first warms up
