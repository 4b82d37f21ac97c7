"""LongSpec (Yang, Du et al. 2025, arXiv 2502.17421): far positions from short training, constant memory, attention in parts.

Six parts. *Lengths*: acceptance length behind long texts, before and after a second stage on long texts. *Positions*: heads
trained on short texts of the embedded target, with offset or plain positions, with a shifted or a plain causal mask; how often
they agree with the target by how far into a text. *Far*: offset against plain positions once more, for a head that already
reads, on texts of 8,192 tokens. *Copying*: a small target that has learned to repeat what stood long ago; a head that sees a
short window only against one that also reads the target's keys. *Memory and time* of a drafted step at texts of several lengths.
*Attention* of 65 rows to a long prefix under one mask and in parts.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from paceline.data.corpus import Stream
from paceline.errors import RequestError
from paceline.lm import LM
from paceline.lm.attention import attend_in_parts
from paceline.lm.batch import Batch as TokenBatch
from paceline.models.draft_head.head import Head
from paceline.models.draft_head.lm import HeadLM
from paceline.models.draft_head.shape import HeadShape, longspec_shape
from paceline.objectives.distil import distil
from paceline.objectives.xent import xent
from paceline.recipes import pretrain_zoo
from paceline.recipes.pretrain_zoo import Job, corpus_stage
from paceline.recipes.reproduce._record import once, picture, write_record
from paceline.recipes.reproduce._stretched import stretched
from paceline.recipes.reproduce.longspec._by_position import by_position
from paceline.recipes.reproduce.longspec._far import far
from paceline.recipes.reproduce.longspec._lengths import LongStage, lengths
from paceline.recipes.reproduce.longspec._page import draw, written_up
from paceline.recipes.train_draft import load_target
from paceline.train.checkpoint import claim_folder
from paceline.train.forward import language
from paceline.train.heads import Beside, read, train_heads
from paceline.train.loop import Loop, train
from paceline.train.packing import Batch, Batches, Source
from paceline.train.precision import flush_denormals

__all__ = ["Config", "run"]

SHORT, WINDOW, BLOCK = 128, 64, 5  # tokens of a training text; of the heads' own attention; that they draft ahead
EDGES = (0, 128, 512, 1024, 2000)  # parts of a text
MASKS = {"shifted": "shift", "causal": "causal"}
LEAST = {"tokens": 1, "long_tokens": 1, "long_seeds": 1, "far_tokens": 1, "copy_steps": 3, "seeds": 1}
FAST: dict[str, Any] = {"tokens": 16_000, "long_tokens": 1, "long_seeds": 1, "far_tokens": 1, "copy_steps": 6, "seeds": 1}
COPY = {"vocab": 96, "apart": 96, "window": 16}
LENGTHS = (1024, 4096, 16384)


@dataclass(frozen=True)
class Config:
    """Options of the run. The data folder is that of pretrain_zoo."""

    data: Path = Path("data")  # Folder with the texts.
    out: Path = Path("benchmarks/reproduce")  # Receives longspec.json, .md and .png.
    work: Path = Path("work")  # Receives token streams and checkpoints.
    tokens: int = 500_000  # How long to train the heads of one seed and kind of positions.
    long_tokens: int = 300_000  # How long to go on with the embedded head on long texts.
    long_seeds: int = 1  # In how many orders of these.
    long_rate: float = 0.1  # Learning rates there, in those of the first stage.
    far_tokens: int = 100_000  # How long to go on with it on short texts, with offset and with plain positions.
    copy_steps: int = 1_200  # How long to train the copying target; its heads a third of that.
    seeds: int = 3  # How many repeats, each with its own weights and order of texts.
    fast: bool = False  # Minutes instead of an hour and a half: made-up texts, few steps, one seed.


def run(config: Config) -> Path:
    """Do all parts and write the record; returns the page's path. What was killed goes on with the same command."""
    for name, least in LEAST.items():
        if getattr(config, name) < least:
            raise RequestError(f"Expected {name} to be at least {least}, found {getattr(config, name)}.")
    flush_denormals()
    config = replace(config, **FAST) if config.fast else config
    work = claim_folder(config.work / "longspec", {"fast": str(config.fast)})
    found: dict[str, Any] = {"config": {name: getattr(config, name) for name in (*LEAST, "long_rate")},
                             "edges": EDGES, "copy": COPY, "short": SHORT, "window": WINDOW, "block": BLOCK}
    streams = texts(config, work)
    stage = LongStage(config.long_tokens, config.long_seeds, config.long_rate)
    stage = replace(stage, lengths=(64, 128, 512), prompts=2, new=24) if config.fast else stage
    found["lengths"] = lengths(streams, work, stage)
    found["far"] = far(streams, work, stage, config.far_tokens, config.seeds)
    found["positions"] = [once(work / f"positions-{seed}-{config.tokens}.json", partial(positions, config, streams, work, seed))
                          for seed in range(config.seeds)]
    found["copying"] = [once(work / f"copying-{seed}-{config.copy_steps}.json", partial(copying, config, work, seed))
                        for seed in range(config.seeds)]
    found["steps"] = [step_costs(length) for length in (512, *LENGTHS)]
    found["attention"] = [attention_costs(length) | forward_costs(length) for length in LENGTHS]
    page = config.out / "longspec.md"
    write_record(config.out, "longspec", found, written_up(found))
    picture(page.with_suffix(".png"), partial(draw, found), 3)
    return page


# -- positions --------------------------------------------------------------------------------------------------------------


def texts(config: Config, work: Path) -> dict[str, Stream]:
    """Training texts and held-out ones, by kind."""
    zoo = pretrain_zoo.Config(data=config.data, out=config.work, fast=config.fast, seed=1)
    job = Job(zoo, work, load_target("zoo:tiny")[1], {})
    return corpus_stage(zoo, work, job.tokenizer)


def positions(config: Config, streams: dict[str, Stream], work: Path, seed: int) -> dict[str, list[float]]:
    """Percent of agreement by part of a text, for offset and plain positions under both masks."""
    found: dict[str, list[float]] = {}
    model, _ = load_target("zoo:tiny")
    long = [stream for name, stream in streams.items() if name in ("held_code", "held_prose")]
    length = 256 if config.fast else EDGES[-1]
    held = [Batches({"held": Source(stream, 1.0)}, 4, 2, length, seed).batch(i) for stream in long for i in range(4)]
    for name, longest in (("offset", model.config.max_position_embeddings), ("plain", 0)):
        heads = {f"{name}, {mask}": Head(shape_of(model), seed) for mask in MASKS}
        masks = {f"{name}, {mask}": way for mask, way in MASKS.items()}
        sources = {name: Source(streams[name], 1.0) for name in ("stdlib", "wikitext", "gsm8k", "shakespeare")}
        steps = max(1, config.tokens // (64 * SHORT))
        batches = Batches(sources, steps, 64, SHORT, 1000 + seed)
        loop = Loop(work / f"positions-{name}-{seed}-{config.tokens}", steps)
        train_heads(Beside(model, heads, masks, distil, longest), batches.batch, loop)
        found |= by_position(model, heads, held, EDGES)
    return found


def shape_of(model: PreTrainedModel) -> HeadShape:
    return longspec_shape(model, window=WINDOW, block=BLOCK, final_norm=True)


# -- copying ----------------------------------------------------------------------------------------------------------------


def copying(config: Config, work: Path, seed: int) -> dict[str, float]:
    """Percent of the repeated half on which the target is right, and on which heads agree with it."""
    stream = copies(4000, seed)
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(
        vocab_size=COPY["vocab"], hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=512, tie_word_embeddings=False,
    ))  # fmt: skip
    batches = Batches({"copies": Source(stream, 1.0, whole=True)}, config.copy_steps, 16, 2 * COPY["apart"], seed)
    loop = Loop(work / f"copy-target-{seed}-{config.copy_steps}", config.copy_steps)
    train(model, batches.batch, language(model, xent, None), loop)
    shape = longspec_shape(model, window=COPY["window"], block=BLOCK, final_norm=True)
    heads = {"window and target's keys": Head(shape, seed), "window only": Head(replace(shape, reads=()), seed)}
    steps = max(2, config.copy_steps // 3)
    beside = Beside(model, heads, dict.fromkeys(heads, "shift"), distil)
    train_heads(beside, batches.batch, Loop(work / f"copy-heads-{seed}-{config.copy_steps}", steps))
    held = [Batches({"held": Source(copies(200, 10_000 + seed), 1.0, whole=True)}, 4, 16, 2 * COPY["apart"], seed).batch(i)
            for i in range(4)]
    edges = (0, COPY["apart"] + BLOCK, 2 * COPY["apart"])
    return {"target": right(model, held), **{name: rates[1] for name, rates in by_position(model, heads, held, edges).items()}}


def copies(count: int, seed: int) -> Stream:
    """Random texts, each said twice: what comes in the second half stood 96 tokens ago and can be told from nothing nearer."""
    once = np.random.default_rng(seed).integers(3, COPY["vocab"], (count, COPY["apart"]), dtype=np.int64)
    tokens = np.concatenate([once, once], 1).astype(np.uint16)
    starts = np.arange(count + 1, dtype=np.int64) * tokens.shape[1]
    learn = np.tile(np.arange(tokens.shape[1]) >= COPY["apart"], count)
    return Stream(tokens.reshape(-1), starts, learn, tokens.size)


@torch.no_grad()
def right(model: PreTrainedModel, batches: list[Batch]) -> float:
    """Percent of the scored tokens that the target itself predicts."""
    hits = tried = 0
    for batch in batches:
        taught, _ = read(model, batch, batch.positions)
        found, labels = model.get_output_embeddings()(taught).argmax(-1), batch.labels.flatten()
        hits, tried = hits + int((found == labels)[labels >= 0].sum()), tried + int((labels >= 0).sum())
    return 100 * hits / max(tried, 1)


# -- memory, time, attention ------------------------------------------------------------------------------------------------


def step_costs(length: int) -> dict[str, float]:
    """Bytes and milliseconds of a drafted step behind so many tokens, and the part of reading the target's keys in it.

    The embedded target with its context stretched.
    """
    lm = LM(stretched(LENGTHS[-1] + 128))
    found: dict[str, float] = {"length": length}
    for name, reads in (("", None), (", without reading", ())):
        shape = longspec_shape(lm, block=BLOCK, final_norm=True)
        work: Any = HeadLM(Head(shape if reads is None else replace(shape, reads=())).eval(), lm)
        target, own = lm.cache(), work.cache()
        slot, read_slot = own.take(), target.take()
        slot.reads = read_slot
        lm.prefill(target, read_slot, [5] * 300)  # its keys matter to no time, so the rest is left as it is
        read_slot.length = length
        own.restart(slot, length - shape.window)
        work.prefill(own, slot, [5] * shape.window)
        found[f"ms{name}"] = 1000 * best(partial(work.forward, TokenBatch.of([slot], [[7]]), own))
        found[f"bytes{name}"] = own.bytes
    return found


def attention_costs(prefix: int, rows: int = 65) -> dict[str, float]:
    """Milliseconds of one layer's attention of so many tokens of a tree, 4 query and 2 key heads of 80: whole and in parts."""
    random = torch.Generator().manual_seed(0)
    q = torch.randn(1, 2, 2 * rows, 80, generator=random)
    cached = torch.randn(2, 1, 2, prefix + rows, 80, generator=random)
    own = torch.zeros(2 * rows, rows).masked_fill_(torch.rand(2 * rows, rows, generator=random) < 0.7, -torch.inf)
    own[:, 0] = 0.0
    whole = torch.cat((torch.zeros(2 * rows, prefix), own), 1)[None, None]
    dense = partial(scaled_dot_product_attention, q, cached[0], cached[1], attn_mask=whole, scale=80**-0.5)
    parts = partial(attend_in_parts, q, cached, own, 80**-0.5)
    apart = float((dense() - parts()).abs().max())
    return {"prefix": prefix, "dense": 1000 * best(dense), "parts": 1000 * best(parts), "apart": apart,
            "mask": whole.numel() * 4, "own": own.numel() * 4}


def forward_costs(prefix: int, nodes: int = 65) -> dict[str, float]:
    """Milliseconds of a whole forward of so many tokens of a tree behind a prefix, on the lean and on the compiled forward."""
    model = stretched(LENGTHS[-1] + 128)
    random, found = torch.Generator().manual_seed(0), {}
    parents = [[-1, *(int(torch.randint(-1, i, (1,), generator=random)) for i in range(1, nodes))]]
    for name in ("lean", "auto"):
        lm = LM(model, forward=name)
        kv = lm.cache()
        slot = kv.take()
        lm.prefill(kv, slot, [5] * 100)
        slot.length = prefix  # what the other keys hold matters to no time
        found[name] = 1000 * best(partial(lm.forward, TokenBatch.of([slot], [[7] * nodes], parents), kv), 5)
    return found


def best(work: Callable[[], Any], repeats: int = 15) -> float:
    """Least seconds of a few."""
    found = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return min(found[2:])
