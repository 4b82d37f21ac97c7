"""LongSpec's offset positions against plain ones, for a head that already reads, judged far beyond the texts it learns from.

A fresh head hardly reads the target's keys before a million tokens, so a short training of it says nothing of where they lie.
Here both arms go on from the embedded head, which reads, on texts of 128 tokens of its target stretched to eight times its
context, whose far positions it has never seen; and they are judged by their KL to it on texts of 8,192 tokens, which moves before
their likeliest tokens do. The stage on long texts stands beside them. Source: Yang et al. 2025, arXiv 2502.17421, section 3.1.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from paceline.data.corpus import Stream
from paceline.models.draft_head.head import Head
from paceline.objectives.distil import distil
from paceline.recipes.reproduce._record import once
from paceline.recipes.reproduce._stretched import stretched
from paceline.recipes.reproduce.longspec._by_position import as_batch, divergence
from paceline.recipes.reproduce.longspec._lengths import SHIPPED, LongStage, after, endings, fitted, slow, some, trained
from paceline.train.heads import Beside, train_heads
from paceline.train.loop import Loop
from paceline.train.packing import Batches, Source

__all__ = ["far"]

SHORT, ROWS = 128, 64  # tokens of a training text; texts of a step
PARTS = (0, 128, 512, 2048)  # where parts of a text begin


def far(streams: dict[str, Stream], work: Path, stage: LongStage, tokens: int, seeds: int) -> dict[str, Any]:
    """kl: head -> for each held-out text its mean KL to the target, in nats, by part. The heads: the embedded one; `offset, 0`,
    `plain, 0`, `offset, 1` … after so many tokens; and that after the long stage. Made once.
    """
    name = f"far-{tokens}-{seeds}-{stage.tokens}-{stage.rate}.json"
    return once(work / name, partial(diverged, streams, work, stage, tokens, seeds))


def diverged(streams: dict[str, Stream], work: Path, stage: LongStage, tokens: int, seeds: int) -> dict[str, Any]:
    """What all these heads do on held-out texts."""
    longest = stage.lengths[-1]
    model = stretched(longest)
    heads = {SHIPPED: fitted(model)}
    for seed in range(seeds):
        for name, reach in (("offset", longest), ("plain", 0)):
            loop = slow(work / f"far-{name}-{seed}-{tokens}", tokens // (ROWS * SHORT) or 1, 0.1)
            heads[f"{name}, {seed}"] = gone_on(streams, loop, seed, reach, longest)
    heads[after(0)] = trained(streams, work, stage, 0)
    edges = [edge for edge in PARTS if edge < longest] + [longest]
    return {"edges": edges, "kl": divergence(model, heads, [as_batch(text) for text in some(endings(streams, stage))], edges)}


def gone_on(streams: dict[str, Stream], loop: Loop, seed: int, reach: int, longest: int) -> Head:
    """The embedded head after more short texts, with positions below `reach` (0 = plain ones); resumable."""
    model = stretched(longest)
    head = fitted(model)
    sources = {name: Source(streams[name], 1.0) for name in ("stdlib", "wikitext", "gsm8k", "shakespeare")}
    batches = Batches(sources, loop.steps, ROWS, SHORT, 3000 + seed)
    train_heads(Beside(model, {"head": head}, {"head": "shift"}, distil, reach, begun=True), batches.batch, loop)
    return head.eval()
