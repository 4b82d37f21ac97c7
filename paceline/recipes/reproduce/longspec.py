"""LongSpec (Yang, Du et al. 2025, arXiv 2502.17421): far positions from short training, constant memory, attention in parts.

Four parts. *Positions*: heads trained on short texts of the embedded target, with offset or plain positions, with a shifted or a
plain causal mask; how often they agree with the target by how far into a text. *Copying*: a small target that has learned to
repeat what stood long ago; a head that sees a short window only against one that also reads the target's keys. *Memory and time*
of a drafted step at texts of several lengths. *Attention* of 65 rows to a long prefix under one mask and in parts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
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
from paceline.lm.attend import attend_in_parts
from paceline.lm.head import Head
from paceline.lm.head_lm import HeadLM
from paceline.lm.head_shape import HeadShape, longspec_shape
from paceline.objectives.distil import distil
from paceline.objectives.xent import xent
from paceline.recipes import pretrain_zoo
from paceline.recipes.pretrain_zoo import Job, corpus_stage
from paceline.recipes.reproduce._record import mean_of, picture, table, write_record
from paceline.recipes.reproduce._stretched import stretched
from paceline.recipes.train_draft import load_target
from paceline.train.checkpoint import claim_folder
from paceline.train.forward import language
from paceline.train.heads import Beside, agreeing, read, train_heads
from paceline.train.loop import Loop, train
from paceline.train.packing import Batch, Batches, Source
from paceline.train.precision import fast_dtype, flush_denormals

__all__ = ["Config", "run"]

SHORT, WINDOW, BLOCK = 128, 64, 5  # tokens of a training text; of the heads' own attention; that they draft ahead
EDGES = (0, 128, 512, 1024, 2000)  # parts of a text
MASKS = {"shifted": "shift", "causal": "causal"}
COPY = {"vocab": 96, "apart": 96, "window": 16}
LENGTHS = (1024, 4096, 16384)


@dataclass(frozen=True)
class Config:
    """Options of the run. The data folder is that of pretrain_zoo."""

    data: Path = Path("data")  # Folder with the texts.
    out: Path = Path("benchmarks/reproduce")  # Receives longspec.json, .md and .png.
    work: Path = Path("work")  # Receives token streams and checkpoints.
    tokens: int = 500_000  # How long to train the heads of one seed and kind of positions.
    copy_steps: int = 1_200  # How long to train the copying target; its heads a third of that.
    seeds: int = 3  # How many repeats, each with its own weights and order of texts.
    fast: bool = False  # Minutes instead of half an hour: made-up texts, few steps, one seed.


def run(config: Config) -> Path:
    """Do all four parts and write the record; returns the page's path. What was killed goes on with the same command."""
    if config.seeds < 1 or config.tokens < 1 or config.copy_steps < 3:
        raise RequestError(f"Expected seeds and tokens of at least 1 and copy_steps of at least 3, found {config.seeds}, "
                           f"{config.tokens} and {config.copy_steps}.")
    flush_denormals()
    config = replace(config, seeds=1, tokens=min(config.tokens, 16_000), copy_steps=6) if config.fast else config
    work = claim_folder(config.work / "longspec", {"fast": str(config.fast)})
    found: dict[str, Any] = {"tokens": config.tokens, "seeds": config.seeds}
    streams = texts(config, work)
    found["positions"] = [positions(config, streams, work, seed) for seed in range(config.seeds)]
    found["copying"] = [copying(config, work, seed) for seed in range(config.seeds)]
    found["steps"] = [step_costs(length) for length in (512, *LENGTHS)]
    found["attention"] = [attention_costs(length) | forward_costs(length) for length in LENGTHS]
    page = config.out / "longspec.md"
    write_record(config.out, "longspec", found, written_up(found))
    picture(page.with_suffix(".png"), partial(draw, found), 2)
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


def by_position(model: PreTrainedModel, heads: dict[str, Head], batches: list[Batch],
                edges: Sequence[int]) -> dict[str, list[float]]:
    """Head -> percent of tokens that are the target's between each two edges, under the block mask of drafting."""
    hits, tried = {name: torch.zeros(len(edges) - 1) for name in heads}, torch.zeros(len(edges) - 1)
    for batch, agreed in agreeing(model, heads, batches, fast_dtype("cpu") is torch.bfloat16):
        part = torch.bucketize(batch.positions.flatten(), torch.tensor(edges[1:-1]), right=True)
        scored = (batch.labels.flatten() >= 0) & (batch.positions.flatten() >= BLOCK)
        tried += torch.bincount(part[scored], minlength=len(tried))
        for name in heads:
            hits[name] += torch.bincount(part[scored & agreed[name]], minlength=len(tried))
    return {name: (100 * hits[name] / tried.clamp_min(1)).tolist() for name in heads}


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
        target.reserve(length)
        lm.prefill(target, read_slot, [5] * 300)  # its keys matter to no time, so the rest is left as it is
        read_slot.length = length
        own.restart(slot, length - shape.window)
        work.prefill(own, slot, [5] * shape.window)
        found[f"ms{name}"] = 1000 * best(partial(work.forward, own, [slot], torch.tensor([[7]])))
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
        kv.reserve(prefix + nodes)
        lm.prefill(kv, slot, [5] * 100)
        slot.length = prefix  # what the other keys hold matters to no time
        found[name] = 1000 * best(partial(lm.forward, kv, [slot], torch.full((1, nodes), 7), parents), 5)
    return found


def best(work: Callable[[], Any], repeats: int = 15) -> float:
    """Least seconds of a few."""
    found = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return min(found[2:])


# -- the page ---------------------------------------------------------------------------------------------------------------


def written_up(found: dict[str, Any]) -> str:
    """Tables beside the paper's figures."""
    arms, parts = list(found["positions"][0]), [f"{a} to {b}" for a, b in zip(EDGES, EDGES[1:], strict=False)]
    rates = [[arm, *(mean_of([s[arm][i] for s in found["positions"]]) for i in range(len(parts)))] for arm in arms]
    gain = [[f"offset over plain, {mask}", *(mean_of(gains(found, mask, i)) for i in range(len(parts)))] for mask in MASKS]
    copied = [[name, mean_of([s[name] for s in found["copying"]])] for name in found["copying"][0]]
    steps = [[s["length"], int(s["bytes"]), f"{s['ms']:.3f}", f"{s['ms, without reading']:.3f}"] for s in found["steps"]]
    attention = [[a["prefix"], f"{a['dense']:.2f}", f"{a['parts']:.2f}", f"{a['dense'] / a['parts']:.2f}", f"{a['apart']:.1e}",
                  a["mask"], a["own"], f"{a['lean']:.1f}", f"{a['auto']:.1f}"] for a in found["attention"]]
    return f"""# LongSpec, again

`paceline cook reproduce/longspec --data DIR`. {found["seeds"]} seed{"s" if found["seeds"] > 1 else ""}, mean ± half of the 95 %
interval over seeds (Student). Heads of one block as wide as their target, with a norm in front of the shared output head.

## Positions: percent of tokens that are the target's, by position in held-out code and prose

Target `zoo:tiny` (context 2,048), {found["tokens"] / 1e6:.2f} M tokens in texts of {SHORT}, window {WINDOW}, tokens drafted up to
{BLOCK} ahead.

{table(["positions, mask", *parts], rates + gain)}

The paper: a given loss on long texts is reached 3.93 times sooner with offset positions; noisy training adds 14.7 % to the
acceptance length.

## Copying what stood {COPY["apart"]} tokens ago, window {COPY["window"]}: percent of the repeated tokens

{table(["who", "right (target) or in agreement with the target"], copied)}

## A drafted step behind texts of several lengths

Weights of `zoo:tiny`, its context stretched: costs only.

{table(["tokens", "bytes of the head's keys", "ms", "ms without reading the target's keys"], steps)}

The paper: 8.91 ms at up to 5k tokens, 9.25 at 25k to 32k.

## Attention of a tree of 65 tokens to a prefix, fp32

{table(["prefix", "one mask, ms a layer", "in parts", "ratio", "largest difference", "bytes of the mask", "in parts",
        "whole forward, lean, ms", "compiled"], attention)}

The compiled forward has no masks at all: each token's keys are the prefix and its own path. The paper: 49.9 to 12.5 ms for all
layers on a GPU.

![agreement by position, and attention](longspec.png)
"""


def gains(found: dict[str, Any], mask: str, part: int) -> list[float]:
    """For every seed the points that offset positions give over plain ones in a part of the text."""
    return [s[f"offset, {mask}"][part] - s[f"plain, {mask}"][part] for s in found["positions"]]


def draw(found: dict[str, Any], axes: Any) -> None:
    """Agreement by position; attention by prefix."""
    for arm in found["positions"][0]:
        means = [mean_of([s[arm][i] for s in found["positions"]]) for i in range(len(EDGES) - 1)]
        axes[0].errorbar(range(len(means)), means, [m.bar for m in means], marker="o", capsize=2, label=arm)
    axes[0].set_xticks(range(len(EDGES) - 1), [f"{a}–{b}" for a, b in zip(EDGES, EDGES[1:], strict=False)])
    axes[0].set(xlabel="position in the text", ylabel="% of tokens that are the target's")
    axes[0].legend(fontsize=7)
    for name, label in (("dense", "one mask"), ("parts", "in parts")):
        axes[1].plot([a["prefix"] for a in found["attention"]], [a[name] for a in found["attention"]], marker="o", label=label)
    axes[1].set(xlabel="tokens of the prefix", ylabel="ms, 65 tokens, one layer", xscale="log", yscale="log")
    axes[1].legend(fontsize=7)
