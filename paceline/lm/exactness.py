"""The check at load: does this machine give the same bits for tokens scored together and one by one?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from paceline.lm.batch import Batch
from paceline.lm.ids import random_ids
from paceline.lm.kv import KV, Slot
from paceline.lm.weights.packed import ROWS

if TYPE_CHECKING:
    from paceline.lm.lm import LM


__all__ = ["BLOCK", "TAILS", "chain_exactness", "tree_exactness"]

BLOCK = 512  # keys the CPU attention kernel sums at a time
TAILS = (64, 128, 192, 384)  # parts of a last block whose sums it makes in the same order as a whole one's (found by trying)


@torch.inference_mode()
def chain_exactness(lm: LM) -> tuple[bool, str]:
    """Whether this machine gives the same bits for tokens scored together and one by one: (yes, why not).

    Tries the real forward on random tokens on both sides of every length where a view grows: a prompt prefilled whole and in
    pieces, chains of 2 … 33 tokens, and 256 positions together, against one token at a time. What holds then is that a token's
    logits are a pure function of its prefix, however that prefix was fed. The fused forward has no views that grow, so for it a
    short prompt is enough; its trees are tried by `tree_exactness`.
    """
    if lm.device.type != "cpu":
        return False, "bit-exact mode is for CPUs"
    if not lm.backend.packed:
        return False, "bit-exact mode needs the fused forward or packed linears"
    start = max(1, min(60 if lm.backend.in_order else BLOCK - 7, lm.context - 34))
    count = min(33, lm.context - start)
    if count < 2:
        return False, "the context is too short to check"
    tokens = random_ids(lm.known, (start + count,), seed=1).tolist()
    kv = lm.cache(exact=True)
    slot = kv.take()
    for edge in (t for t in lm.tails if t + 4 < start):  # where a view grows by a tail
        lm.prefill(kv, slot, tokens[slot.length : edge - 2])
        apart = torch.cat([_step(lm, kv, [slot], [tokens[edge - 2 + i : edge - 1 + i]]) for i in range(4)])
        kv.crop(slot, edge - 2)
        if not torch.equal(_step(lm, kv, [slot], [tokens[edge - 2 : edge + 2]]), apart):
            return False, f"sums over {edge} keys and over more differ in the last bits on this machine"
    lm.prefill(kv, slot, tokens[slot.length : start])
    one = torch.cat([_step(lm, kv, [slot], [tokens[start + i : start + i + 1]]) for i in range(count)])
    for size in sorted({*range(2, 18), count} if lm.backend.in_order else {2, 3, 5, 8, 9, 16, 17, count}):
        kv.crop(slot, start)
        if size <= count and not torch.equal(_step(lm, kv, [slot], [tokens[start : start + size]]), one[:size]):
            return False, f"{size} tokens at once differ in the last bits from one at a time on this machine"
    pieces = kv.take()
    for i in range(0, start, 48):
        lm.prefill(kv, pieces, tokens[i : min(i + 48, start)])
    if not torch.equal(_step(lm, kv, [pieces], [tokens[start : start + 2]]), one[:2]):
        return False, "a prompt fed in pieces differs in the last bits from one fed whole on this machine"
    kv.free(pieces)
    kv.crop(slot, start)
    rows, size = [slot, *(filter(None, (kv.fork(slot, start) for _ in range(7))))], min(count, ROWS // 8)
    if not torch.equal(_step(lm, kv, rows, [tokens[start : start + size]] * 8), one[:size].repeat(8, 1)):
        return False, "eight rows at once differ in the last bits from one on this machine"
    return True, ""


@torch.inference_mode()
def tree_exactness(lm: LM) -> bool:
    """Whether every node of a tree has the bits of its path decoded token by token."""
    tokens = random_ids(lm.known, (16,), seed=2).tolist()
    start, parents = min(9, lm.context - 7), [-1, 0, 0, 1, 2, 3]
    if start < 1:
        return False
    kv = lm.cache(exact=True)
    slot = kv.take()
    lm.prefill(kv, slot, tokens[:start])
    nodes = tokens[start : start + len(parents)]
    tree = lm.forward(Batch.of([slot], [nodes], [parents]), kv)
    for path in ([0, 1, 3, 5], [0, 2, 4]):
        kv.crop(slot, start)
        apart = torch.cat([_step(lm, kv, [slot], [[nodes[i]]]) for i in path])
        if not torch.equal(tree[path], apart):
            return False
    return True


def _step(lm: LM, kv: KV, slots: list[Slot], tokens: list[list[int]]) -> torch.Tensor:
    logits = lm.forward(Batch.of(slots, tokens), kv)
    kv.keep(slots, [range(len(row)) for row in tokens])
    return logits
