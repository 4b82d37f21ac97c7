"""Every family, on both forwards: the logits of transformers' own forward, whatever the batch, the window or the packing."""

from __future__ import annotations

import pytest
import torch

from paceline.core.proposal import Proposal
from paceline.lm import LM
from paceline.lm.forwards.fused import compiler
from paceline.lm.sources.llama import FAMILIES as LEAN
from paceline.testing import FAMILIES

TOLERANCE = 1e-4
KNOWN = ("stock", "lean", "fused") if compiler.library()[0] is not None else ("stock", "lean")
FORWARDS = [(family, forward) for family in FAMILIES for forward in KNOWN if forward == "stock" or family in LEAN]
LENGTHS = (3, 40, 71)  # committed tokens of three rows; the tiny models' window, where they have one, is 24


def ids(n: int, seed: int, vocab: int) -> list[int]:
    return torch.randint(3, vocab, (n,), generator=torch.Generator().manual_seed(seed)).tolist()


@torch.inference_mode()
def theirs(lm: LM, tokens: list[int]) -> torch.Tensor:
    """Logits [T, V] of the untouched model, without a cache."""
    return lm.model(torch.tensor([tokens]), use_cache=False).logits[0]


@pytest.mark.parametrize("packed", [False, True], ids=["dense", "packed"])
@pytest.mark.parametrize(("family", "forward"), FORWARDS)
def test_logits_of_ragged_rows_equal_transformers(family: str, forward: str, packed: bool, lm_of) -> None:
    lm = lm_of(family, forward, packed)
    assert lm.forward_name == forward
    kv = lm.cache()
    slots, pending, proposals, wanted = [], [], [], []
    for row, length in enumerate(LENGTHS):
        text = ids(length + 1 + 2 * row, row, lm.vocab)
        slots.append(kv.take())
        lm.prefill(kv, slots[-1], text[:length])
        pending.append(text[length])
        proposals.append(Proposal.chain(text[length + 1 :], "test"))
        wanted.append(theirs(lm, text)[length:])
    for ours, expected in zip(lm.score(kv, slots, pending, proposals), wanted, strict=True):
        torch.testing.assert_close(ours, expected, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize(("family", "forward"), FORWARDS)
def test_a_tree_equals_its_paths_one_by_one(family: str, forward: str, lm_of) -> None:
    """Tree masks and tree positions, beyond the window too; the row beside it is shorter and has another tree."""
    lm = lm_of(family, forward)
    texts = [ids(50, 1, lm.vocab), ids(7, 2, lm.vocab)]
    nodes = ids(9, 3, lm.vocab)
    parents = [[-1, -1, 0, 0, 1, 2, 4, -1, 6], [-1, 0, 0, 2, -1]]
    kv = lm.cache()
    slots = [kv.take(), kv.take()]
    for slot, text in zip(slots, texts, strict=True):
        lm.prefill(kv, slot, text[:-1])
    trees = [Proposal(nodes[: len(p)], p, [False] * len(p), ["test"] * len(p)) for p in parents]
    scores = lm.score(kv, slots, [t[-1] for t in texts], trees)
    for text, tree, ours in zip(texts, trees, scores, strict=True):
        for node in range(-1, len(tree)):
            expected = theirs(lm, [*text, *(tree.tokens[i] for i in tree.path(node))])[-1]
            torch.testing.assert_close(ours[node + 1], expected, atol=TOLERANCE, rtol=TOLERANCE)
