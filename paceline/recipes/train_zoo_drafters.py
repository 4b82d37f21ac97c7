"""Trains the embedded target's draft heads, `tiny-glide` and `tiny-longspec`, on the texts that it learned from and on its own.

Both train on one forward of the target. Rows are short at first, with most of their tokens moved to far positions, and have the
full context at the end (LongSpec's stages). What was killed goes on with the same command.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from paceline.data.corpus import Stream
from paceline.data.zoo_texts import MEASURED
from paceline.errors import RequestError
from paceline.lm.load import resolve
from paceline.models.draft_head.head import Head
from paceline.objectives.distil import distil
from paceline.recipes import pretrain_zoo, train_draft
from paceline.recipes.pretrain_zoo import Job, corpus_stage, plan, written_stage
from paceline.train.checkpoint import claim_folder, replace_folder
from paceline.train.head_card import HeadMaking, write_head
from paceline.train.heads import Beside, agreement, train_heads
from paceline.train.loop import Loop
from paceline.train.packing import Batches, Source
from paceline.train.precision import fast_dtype, flush_denormals
from paceline.train.progress import reporter

__all__ = ["Config", "run"]

HELD_ROWS, HELD_LENGTH, HELD_BATCHES = 8, 1024, 4  # of each kind of text


@dataclass(frozen=True)
class Config:
    """Options of the run. The data folder is that of pretrain_zoo."""

    data: Path = Path("data")  # Folder with the texts; code comes from this Python's standard library.
    out: Path = Path("zoo")  # Receives tiny-glide and tiny-longspec; what lies between goes into its folder drafters.
    model: str = "zoo:tiny"  # The target.
    method: str = "glide:[tied=true,cross_norm=true],longspec:final_norm=true"  # Heads; a second of a kind stays in drafters.
    fast: bool = False  # A few steps on made-up texts, in seconds, to see that all works.
    tokens: int = 5_000_000  # How long to train; about 4,000 tokens a second on two cores.
    written: int = 1_200_000  # Tokens that the target writes itself to learn from.
    own: float = 0.5  # Share of the training tokens that the target wrote.
    long: float = 0.12  # Share of the steps, at the end, with rows of the full context.
    block: int = 6  # How many tokens ahead the heads learn to draft.
    width: int = 192  # Of the GliDe head.
    heads: int = 3  # Of the GliDe head; keys and values have one.
    ffn: int = 576  # Of the GliDe head.
    dialogues: int = 12_000  # How many tool dialogues to make up.
    seed: int = 1  # Of the weights, the dialogues and the order of the texts.


def run(config: Config) -> Path:
    """Train, measure and write the heads; returns ``config.out``.

    Raises:
        RequestError, SpecError: options that no run can follow. DataError: a data file is missing or broken, or the folder holds
        the work of another configuration.
    """
    own = train_draft.Config(model=config.model, method=config.method, width=config.width, heads=config.heads, ffn=config.ffn,
                             block=config.block, tokens=config.tokens, seed=config.seed)
    specs = train_draft.check(own)
    if not 0 < config.own < 1 or not 0 < config.long < 1:
        raise RequestError(f"Expected own and long to be shares between 0 and 1, found {config.own} and {config.long}.")
    flush_denormals()
    folder, (model, tokenizer) = Path(resolve(config.model)), train_draft.load_target(config.model)
    work = claim_folder(config.out / "drafters", {name: str(value) for name, value in dataclasses.asdict(config).items()
                                                  if name not in ("data", "out", "tokens")})
    job = job_of(config, work, tokenizer)
    written = written_stage(job, folder)
    heads = {name: train_draft.made(model, own, *spec) for name, spec in specs.items()}
    masks = {name: train_draft.mask_of(*spec) for name, spec in specs.items()}
    seconds = fit(job, model, heads, masks, written, model.config.max_position_embeddings)
    streams = {kind: job.streams[f"held_{kind}"] for kind in MEASURED} | {"its own": written}
    rates = measured(model, heads, streams, config.seed, 64 if config.fast else HELD_LENGTH)
    shipped: set[str] = set()
    for name, head in heads.items():
        making = HeadMaking(head.shape.method, job.tokens("draft"), seconds, rates[name], config.written, config.own)
        home = work / name if making.name in shipped else config.out / f"tiny-{making.name}"
        shipped.add(making.name)
        replace_folder(home, partial(write_head, head, making))
    return config.out


def job_of(config: Config, work: Path, tokenizer: PreTrainedTokenizerBase) -> Job:
    """The texts, mixed and packed as for the draft model."""
    zoo = pretrain_zoo.Config(data=config.data, out=config.out, fast=config.fast, draft_tokens=config.tokens,
                              written=config.written, own=config.own, long=config.long, dialogues=config.dialogues,
                              seed=config.seed)
    return Job(zoo, work, tokenizer, corpus_stage(zoo, work, tokenizer))


def fit(job: Job, model: PreTrainedModel, heads: dict[str, Head], masks: dict[str, str], written: Stream,
        longest: int, folder: str = "heads") -> float:
    """Train all heads on the same batches, with positions below `longest` (0 = as they are); returns the seconds it took."""
    steps, batches = plan(job, "draft", written)
    with reporter(folder, steps) as report:
        return train_heads(Beside(model, heads, masks, distil, longest), batches, Loop(job.work / folder, steps), report)


def measured(model: PreTrainedModel, heads: dict[str, Head], streams: dict[str, Stream], seed: int,
             length: int) -> dict[str, dict[str, list[float]]]:
    """Head -> kind of text -> share of tokens drafted as the target would, by how far ahead, for the weights as they ship."""
    for head in heads.values():
        head.eval().to(torch.bfloat16).float()
    fast, found = fast_dtype(model.device.type) is torch.bfloat16, {name: dict[str, list[float]]() for name in heads}
    for kind, stream in streams.items():
        rows = Batches({kind: Source(stream, 1.0)}, HELD_BATCHES, HELD_ROWS, length, seed)
        for name, rates in agreement(model, heads, [rows.batch(i) for i in range(HELD_BATCHES)], fast).items():
            found[name][kind] = rates
    return found
