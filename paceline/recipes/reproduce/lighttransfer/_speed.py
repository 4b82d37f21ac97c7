"""What cutting layers is for: memory, tokens a second in a given memory, and drafts after which the text is the whole model's."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch

from paceline.bench.long_prompts import LONG_KINDS, long_prompts
from paceline.bench.metrics import ratio
from paceline.bench.tasks import encode
from paceline.core.request import Request
from paceline.drafters.sparse_self import SparseSelf
from paceline.lm import LM, Slot
from paceline.lm.batch import Batch
from paceline.patterns.sliding import Sliding
from paceline.recipes.reproduce._side import PLAIN, Side, beside_plain
from paceline.recipes.reproduce.lighttransfer._arms import FULL, LAST, OURS, cut_fork
from paceline.selectors.lighttransfer import LightTransfer

__all__ = ["lossless", "memory", "throughput"]

SINKS, RECENT, SHORT = 4, 1020, 60
SIZES = (2048, 4096, 8192)
TOKENS, STEPS = 8000, 32  # of the text; steps of each batch that are timed
BUDGETS = (0, 512 << 20, 1 << 30, 2 << 30)  # bytes of keys and values; 0 = one row each
KEPT, LENGTHS = (0.0, 0.25, 0.5), (2, 4)  # of a drafting hybrid: share of layers that keep all; tokens at once
WRITTEN = 64  # tokens


@torch.inference_mode()
def memory(lm: LM, fast: bool) -> dict[str, Any]:
    """Tokens -> bytes of keys and values, by the note's formula, in use and allocated; all layers in full, and half of them."""
    layers, recent = lm.text_config.num_hidden_layers, SHORT if fast else RECENT
    return {str(tokens): {FULL: sizes(lm, tokens, 0, recent), OURS: sizes(lm, tokens, layers - round(layers / 2), recent)}
            for tokens in ((256,) if fast else SIZES)}


def sizes(lm: LM, tokens: int, cut: int, recent: int) -> dict[str, int]:
    """Of a text with so many layers cut; what its keys hold matters to no byte."""
    kv = lm.cache()
    slot = kv.take()
    slot.length = tokens - 2
    step(lm, [slot])
    kv.follow(slot, dict.fromkeys(range(cut), Sliding(recent, SINKS, since=tokens - 1)))
    step(lm, [slot])
    held = sum((slot.length - group.dropped) * group.token_bytes for group in slot.held.values())
    kept, each = len(kv.patterns) - cut, slot.token_bytes // len(kv.patterns)
    formula = each * (kept * tokens + cut * min(tokens, SINKS + recent))
    return {"formula": formula, "held": held, "allocated": slot.bytes}


@torch.inference_mode()
def throughput(lm: LM, fast: bool) -> dict[str, Any]:
    """Budget -> rows that fit and their tokens a second, and how many times faster those with half of the layers cut are; steps
    of the two batches take turns.
    """
    tokens, recent = (1100, SHORT) if fast else (TOKENS, RECENT)
    prompt, kv = encode(lm.tokenizer, long_prompts("document", tokens)[0]), lm.cache()
    text = kv.take()
    trace = lm.prefill(kv, text, prompt, range(tokens - LAST, tokens))
    selectors, found = {FULL: LightTransfer(keep=1.0), OURS: LightTransfer(recent=recent)}, dict[str, Any]()
    for budget in (0, 32 << 20) if fast else BUDGETS:
        batches = {name: fitting(lm, partial(cut_fork, text, each, trace), budget) for name, each in selectors.items()}
        seconds = timed(lm, batches, 4 if fast else STEPS)
        took = {name: np.array([[each, len(batches[name])] for each in seconds[name]]) for name in batches}
        found[str(budget)] = {"faster": ratio(took[OURS], took[FULL])} | {
            name: {"rows": len(rows), "bytes": sum(row.bytes for row in rows), "rate": len(rows) / median(seconds[name])}
            for name, rows in batches.items()}  # fmt: skip
        for slot in (slot for rows in batches.values() for slot in rows):
            kv.free(slot)
    return found


def fitting(lm: LM, row: Callable[[], Slot], budget: int) -> list[Slot]:
    """As many rows as have room, one at least, each a step beyond its prompt, when its layers are cut."""
    rows: list[Slot] = []
    while not rows or (len(rows) + 1) * rows[0].bytes <= budget:
        rows.append(row())
        for _ in range(2):
            step(lm, rows[-1:])
    return rows


def timed(lm: LM, batches: dict[str, list[Slot]], steps: int) -> dict[str, list[float]]:
    """Seconds of each step, forwards and backwards in turns."""
    seconds: dict[str, list[float]] = {name: [] for name in batches}
    for turn in range(steps):
        for name in list(batches)[:: -1 if turn % 2 else 1]:
            seconds[name].append(step(lm, batches[name]))
    return seconds


def step(lm: LM, slots: Sequence[Slot]) -> float:
    """Decode one token of each row; returns the seconds."""
    start = time.perf_counter()
    lm.forward(Batch.of(slots, [[7]] * len(slots)), slots[0].kv).argmax(-1).tolist()
    slots[0].kv.keep(slots, [[0]] * len(slots))
    return time.perf_counter() - start


def lossless(lm: LM, fast: bool) -> dict[str, Any]:
    """The hybrid view as a draft, by what it keeps and how much it drafts, behind one long text of each kind. Raises ModelError
    where the text is not plain decoding's.
    """
    tokens, written, recent = (1100, 8, SHORT) if fast else (TOKENS, WRITTEN, RECENT)

    def draft(keep: float, **options: Any) -> SparseSelf:
        return SparseSelf(selector=LightTransfer(keep=keep, recent=recent), **options)

    tried: dict[str, Any] = {PLAIN: "none"}
    tried |= {f"{keep:.0%} kept, {n} at once": draft(keep, length=n, worth=0.0) for keep in KEPT for n in LENGTHS}
    tried |= {f"{keep:.0%} kept, gated": draft(keep) for keep in KEPT} | {"512 keys of each layer, gated": SparseSelf()}
    prompts = [long_prompts(kind, tokens)[0] for kind in (LONG_KINDS[:1] if fast else LONG_KINDS)]
    asked = [Request(encode(lm.tokenizer, prompt), max_new_tokens=written) for prompt in prompts]
    drafts = beside_plain(Side(lm, tried).decoded(asked, 1 if fast else 2))
    return {"tokens": tokens, "written": written, "prompts": len(asked), "drafts": drafts}
