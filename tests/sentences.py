"""Sentences of random logits for the order-agnostic objectives, and the cost of each token at each position."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import torch
from torch import Tensor

from paceline.objectives import Loss
from paceline.objectives.xent import xent

__all__ = ["costs_of", "orders", "sentences", "xe"]


def sentences(*lengths: int, vocab: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logits [B, T, V] in fp64 and targets [B, T], -100 after a sentence's end."""
    dice = torch.Generator().manual_seed(seed)
    shape = len(lengths), max(lengths)
    logits = torch.randn(*shape, vocab, generator=dice, dtype=torch.float64) * 2
    target = torch.randint(0, vocab, shape, generator=dice)
    return logits, target.masked_fill(torch.arange(shape[1]) >= torch.tensor(lengths)[:, None], -100)


def costs_of(logits: Tensor, target: Tensor) -> list[np.ndarray]:
    """[L, L] a sentence: -log p of its token k at its position i, by hand."""
    laws = logits.detach().double().softmax(-1)
    return [-law[: len(row)][:, row].log().numpy() for law, row in zip(laws, [t[t >= 0] for t in target], strict=True)]


def xe(logits: Tensor, target: Tensor) -> Loss:
    """Cross-entropy in the reference's own order."""
    return xent(logits.flatten(0, 1), target.flatten())


def orders(length: int) -> np.ndarray:
    """[L!, L]: every order."""
    return np.array(list(permutations(range(length))), dtype=int)
