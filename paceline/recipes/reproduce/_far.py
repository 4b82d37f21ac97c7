"""LongSpec's offset positions against plain ones, for a head that already reads, judged far beyond the texts it learns from.

A fresh head hardly reads the target's keys before a million tokens, so a short training says nothing of where they lie. Here both
arms go on from one head that was trained with plain positions until it reads, on the same short texts of the same target,
stretched to eight times its context; and they are judged by their KL to it on texts of 8,192 tokens, which moves before their
likeliest tokens do. Source: Yang et al. 2025, arXiv 2502.17421, section 3.1.
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel

from paceline.data.corpus import Stream
from paceline.lm.head import Head
from paceline.lm.head_shape import longspec_shape
from paceline.objectives.distil import distil
from paceline.recipes.reproduce._by_position import as_batch, divergence
from paceline.recipes.reproduce._record import Mean, mean_of
from paceline.recipes.reproduce._stretched import stretched
from paceline.train.checkpoint import replace_file
from paceline.train.heads import Beside, train_heads
from paceline.train.loop import Loop
from paceline.train.packing import Batches, Source

__all__ = ["FAR", "FarStage", "far", "gained"]

SHORT, ROWS = 128, 64  # tokens of a training text; texts of a step
FAR = (0, 128, 512, 2048, 8192)  # parts of a text
START = "start"


@dataclass(frozen=True)
class FarStage:
    """start: tokens with plain positions that both arms have behind them. tokens: of each arm. seeds: orders of the texts."""

    start: int
    tokens: int
    seeds: int
    window: int = 64
    block: int = 5


def far(streams: dict[str, Stream], texts: list[list[int]], work: Path, stage: FarStage) -> dict[str, list[list[float]]]:
    """Head -> for each held-out text its mean KL to the target, in nats, by part; `start`, `offset, 0`, `plain, 0`, …"""
    path = work / f"far-{stage.start}-{stage.tokens}-{stage.seeds}.json"
    if not path.exists():
        longest = len(texts[0])
        model = stretched(longest)
        shape = longspec_shape(model, window=stage.window, block=stage.block, final_norm=True)
        heads = {START: Head(shape)}
        fit(model, heads[START], streams, stage, Loop(work / f"far-start-{stage.start}", stage.start // (ROWS * SHORT) or 1))
        steps = stage.tokens // (ROWS * SHORT) or 1
        for seed in range(stage.seeds):
            for name, reach in (("offset", longest), ("plain", 0)):
                heads[f"{name}, {seed}"] = head = copy.deepcopy(heads[START])
                folder = work / f"far-{name}-{seed}-{stage.start}-{stage.tokens}"
                fit(model, head, streams, stage, Loop(folder, steps), 1 + seed, reach)
        edges = [edge for edge in FAR if edge < longest] + [longest]
        found = divergence(model, heads, [as_batch(text) for text in texts], edges)
        replace_file(path, lambda fresh: fresh.write_text(json.dumps({"edges": edges, "kl": found})))
    return json.loads(path.read_text())


def fit(model: PreTrainedModel, head: Head, streams: dict[str, Stream], stage: FarStage, loop: Loop, order: int = 0,
        reach: int = 0) -> None:
    """Train a head on short texts, with positions below `reach` (0 = plain ones); order 0 is that of a fresh head."""
    sources = {name: Source(streams[name], 1.0) for name in ("stdlib", "wikitext", "gsm8k", "shakespeare")}
    batches = Batches(sources, loop.steps, ROWS, SHORT, 3000 + order)
    train_heads(Beside(model, {"head": head}, {"head": "shift"}, distil, reach, begun=order > 0), batches.batch, loop)


def gained(found: dict[str, Any], seeds: int, part: int) -> tuple[Mean, list[float]]:
    """How much lower offset positions' KL is in a part, in nats: mean with its interval over seeds; bootstrap 95 % over texts."""
    gains = np.array([np.array(found["kl"][f"plain, {seed}"])[:, part] - np.array(found["kl"][f"offset, {seed}"])[:, part]
                      for seed in range(seeds)])
    over_texts = gains.mean(0)
    picks = np.random.default_rng(0).integers(0, len(over_texts), (2000, len(over_texts)))
    return mean_of(gains.mean(1).tolist()), np.quantile(over_texts[picks].mean(1), [0.025, 0.975]).tolist()
