"""Rows of different lengths in one forward."""

from __future__ import annotations

import pytest
import torch

from paceline.lm.batch import Batch
from paceline.testing import ToyLM, tiny_lm


@pytest.mark.parametrize("forward", ["toy", "auto", "lean", "stock"])
def test_a_row_gets_what_it_gets_alone_and_padding_nothing(forward: str) -> None:
    lm = ToyLM(9) if forward == "toy" else tiny_lm(forward=forward)
    kv, rows, parents = lm.cache(), [[5, 6, 7, 8], [4], [2, 3]], [[-1, 0, 0, 1], [-1], [-1, -1]]
    slots = [kv.take() for _ in rows]
    for tree in (None, parents):
        apart = [lm.forward(Batch.of([slot], [row], tree and [tree[b]]), kv)
                 for b, (slot, row) in enumerate(zip(slots, rows, strict=True))]
        torch.testing.assert_close(lm.forward(Batch.of(slots, rows, tree), kv), torch.cat(apart), atol=1e-4, rtol=1e-4)
        some = lm.forward(Batch.of(slots, rows, tree, at=[[3, 1], [], [0]]), kv)
        torch.testing.assert_close(some, torch.stack([apart[0][3], apart[0][1], apart[2][0]]), atol=1e-4, rtol=1e-4)
    assert lm.forward(Batch.of(slots, rows, at=()), kv).shape == (0, lm.vocab)
