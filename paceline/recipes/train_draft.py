"""Trains draft heads for a target: one forward of the target serves several heads, and held-out acceptance is reported by depth.

What is killed goes on from its newest checkpoint with the same command and ends with the same weights.
"""

from __future__ import annotations

import dataclasses
import json
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from paceline import plugins
from paceline.data.corpus import Stream
from paceline.data.folder import fingerprint, read_stream, split
from paceline.errors import ModelError, RequestError, SpecError, did_you_mean
from paceline.lm.load import quiet, resolve
from paceline.lm.sources.gguf import gguf_in
from paceline.models.draft_head.head import Head
from paceline.models.draft_head.shape import longspec_shape, shape_for, target_of
from paceline.objectives.distil import distil
from paceline.train.checkpoint import check_replaceable, claim_folder, replace_folder, steps_done
from paceline.train.forward import Objective
from paceline.train.heads import MASKS, Beside, agreement, train_heads
from paceline.train.loop import Loop, Progress
from paceline.train.packing import Batches, Source
from paceline.train.parallel import join, spread
from paceline.train.precision import fast_dtype, flush_denormals
from paceline.train.progress import reporter
from paceline.train.write import write_on

__all__ = ["Config", "run"]

HARD_SHARE = {"kl": 0.0, "both": 0.1, "ce": 1.0}
METHODS = ("glide", "longspec", "small")
FIELDS = {"width": int, "layers": int, "heads": int, "kv_heads": int, "ffn": int, "block": int, "window": int, "cross_norm": bool,
          "tied": bool, "bias": bool, "shared": bool, "final_norm": bool, "reads": int}
TEXTS = "texts.npz"
HELD_EVERY, HELD_BATCHES = 50, 16  # documents held out, and how many batches of them are measured


@dataclass(frozen=True)
class Config:
    """Options of the run."""

    data: Path = Path("data")  # A file or folder of .txt, .md, .py, .jsonl (text, prompt and answer, messages) or .npz streams.
    out: Path = Path("heads")  # Receives a folder for each head; checkpoints go into its folder work.
    model: str = "zoo:tiny"  # The target: a zoo name, hub id or folder. It is not changed.
    method: str = "glide"  # Heads to train, by commas: glide, longspec, small (glide without reading), glide:mask=causal …
    tokens: int = 3_000_000  # How long to train.
    loss: str = "both"  # kl (to the target's law), ce (on the text), or both (0.9 and 0.1).
    positions: str = "plain"  # Or anchored: most tokens of a text are moved to far positions (LongSpec).
    width: int = 192  # Of the head's own block; longspec's is as wide as its target.
    layers: int = 1  # Blocks; each reads one of the target's last layers.
    heads: int = 3  # Of the head's own attention; keys and values have one.
    ffn: int = 512  # Width of its feed-forward.
    block: int = 5  # How many tokens ahead it learns to draft.
    rows: int = 16  # Texts in a step.
    length: int = 512  # Tokens of each.
    seed: int = 0  # Of the weights and the order of the texts.
    written: int = 0  # Tokens that the target writes itself, from the beginnings of the texts, to learn from beside them.
    skip_bad: bool = False  # Leave out lines of .jsonl files that cannot be read, instead of stopping.
    shard: bool = False  # Under torchrun: spread the target's layers over the processes (FSDP2).
    half: bool | None = None  # Matrix products in bf16; not given: where that is faster on this machine.
    limit: int | None = None  # At most so many steps: a smoke run.


def run(config: Config) -> Path:
    """Train and measure the heads; returns ``config.out``.

    Raises:
        RequestError, SpecError: options that no run can follow. ModelError: a target that heads cannot read.
        DataError: no texts, or ``config.out`` holds the work of another configuration, target or text.
    """
    specs = check(config)
    for name in specs:
        check_replaceable(config.out / name)
    flush_denormals()
    team = join(config.rows)
    if config.shard and team.size == 1:
        raise RequestError("A target is spread over several processes: start them with torchrun --nproc-per-node N.")
    target, tokenizer = load_target(config.model)
    heads = {name: made(target, config, *spec) for name, spec in specs.items()}
    free = ("data", "out", "tokens", "skip_bad", "shard")
    settings = {key: str(value) for key, value in dataclasses.asdict(config).items() if key not in free}
    settings["target"] = str(target_of(target)[2])
    if team.leads:
        pack(config.data, claim_folder(config.out / "work", settings) / "texts", tokenizer, config.skip_bad)
    team.wait()
    work = claim_folder(config.out / "work", settings)
    streams, held = streams_of(config, work, tokenizer)
    steps = max(1, config.tokens // (config.rows * config.length))
    steps = steps if config.limit is None else min(steps, config.limit)
    batches = Batches(streams, steps, config.rows, config.length, config.seed)
    masks = {name: mask_of(*spec) for name, spec in specs.items()}
    longest = target.config.max_position_embeddings if config.positions == "anchored" else 0
    objective: Objective = partial(distil, hard_share=HARD_SHARE[config.loss])
    if config.shard:
        spread(target)
    with reporter("heads", steps) if team.leads else nullcontext(nothing) as report:
        half = team.agreed(fast_dtype(target.device.type) is torch.bfloat16 if config.half is None else config.half)
        loop = Loop(work / "heads", steps, leads=team.leads, autocast=half)
        seconds = train_heads(Beside(target, heads, masks, objective, longest), batches.batch, loop, report, team)
    rates = measured(config, target, heads, held)
    if team.leads:
        tokens = steps_done(work / "heads") * config.rows * config.length
        keep(config, heads, rates, {"tokens": tokens, "minutes": round(seconds / 60, 1)})
    team.wait()
    return config.out


def nothing(progress: Progress) -> None:
    """What a process reports that does not lead."""


def check(config: Config) -> dict[str, tuple[str, dict[str, str]]]:
    """Head name -> (method, its options), from ``config.method``."""
    if config.loss not in HARD_SHARE:
        hint = did_you_mean(config.loss, HARD_SHARE)
        raise RequestError(f"Expected a loss of {', '.join(HARD_SHARE)}; found {config.loss!r}.{hint}")
    if config.positions not in ("plain", "anchored"):
        raise RequestError(f"Expected positions to be plain or anchored, found {config.positions!r}.")
    for name in ("tokens", "width", "layers", "heads", "ffn", "block", "rows", "length"):
        if getattr(config, name) < 1:
            raise RequestError(f"Expected {name} to be at least 1, found {getattr(config, name)}.")
    if config.width % config.heads or (config.width // config.heads) % 2:
        raise RequestError(f"Expected width to be an even multiple of heads, found {config.width} and {config.heads}.")
    found = {}
    for spec in listed(config.method):
        method, options = plugins.parse(spec)
        if method not in METHODS:
            raise SpecError(f"There is no draft method {method!r}.{did_you_mean(method, METHODS)}")
        for key in options:
            if key not in (*FIELDS, "mask"):
                raise SpecError(f"A {method} head has no option {key!r}.{did_you_mean(key, (*FIELDS, 'mask'))}")
        if options.get("mask", "block") not in MASKS:
            raise SpecError(f"There is no mask {options['mask']!r}.{did_you_mean(options['mask'], MASKS)}")
        name = "-".join([method, *options.values()])
        if name in found:
            raise SpecError(f"Two heads would be called {name!r}: {spec} and another one; give them options that differ.")
        found[name] = method, options
    if not found:
        raise RequestError("Expected at least one method, such as glide; found none.")
    return found


def listed(text: str) -> list[str]:
    """Specs between commas; a comma within one needs brackets: ``glide:[mask=causal,layers=2]``."""
    parts, depth, now = [], 0, ""
    for char in text:
        depth += (char == "[") - (char == "]")
        if char == "," and not depth:
            parts.append(now)
            now = ""
        elif char not in "[]":
            now += char
    return [part.strip() for part in [*parts, now] if part.strip()]


def load_target(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The target in fp32, whatever it was saved in, and its tokenizer."""
    source = resolve(name)
    if gguf_in(Path(source)) is not None:
        raise ModelError(f"Training takes a transformers model; {name!r} is a GGUF file: name the model it was made from.")
    try:
        with quiet():
            return AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32), AutoTokenizer.from_pretrained(source)
    except (OSError, ValueError) as error:
        raise ModelError(f"Cannot load the target {name!r}: {str(error).splitlines()[0]}") from error


def shaping(options: dict[str, str]) -> dict[str, Any]:
    """A spec's options as those of a shape; reads names one layer of the target, counted from its end."""
    own: dict[str, Any] = {key: value(key, text) for key, text in options.items() if key != "mask"}
    return own | ({"reads": (own["reads"],)} if "reads" in own else {})


def mask_of(method: str, options: dict[str, str]) -> str:
    """How a head's reading is masked: as its paper does, if not asked otherwise."""
    return options.get("mask", "shift" if method == "longspec" else "block")


def made(target: PreTrainedModel, config: Config, method: str, options: dict[str, str]) -> Head:
    """A fresh head; a small one reads nothing of the target."""
    own = shaping(options)
    if method == "longspec":
        return Head(longspec_shape(target, **{"block": config.block, **own}), config.seed)
    base: dict[str, Any] = {name: getattr(config, name) for name in ("width", "layers", "heads", "ffn", "block")}
    shape = shape_for(target, **{"kv_heads": 1, **base, **own})
    return Head(dataclasses.replace(shape, reads=(), method="small") if method == "small" else shape, config.seed)


def value(key: str, text: str) -> int | bool:
    """An option's value; whole numbers, or true and false."""
    if FIELDS[key] is bool and text in ("true", "false"):
        return text == "true"
    if FIELDS[key] is int and text.isdecimal() and int(text) > 0:
        return int(text)
    wanted = "true or false" if FIELDS[key] is bool else "a whole number above 0"
    raise SpecError(f"Expected {key} to be {wanted}, found {text!r}.")


def pack(data: Path, folder: Path, tokenizer: PreTrainedTokenizerBase, skip_bad: bool = False) -> None:
    """The texts below ``data`` as one stream in ``folder``, made once. Raises DataError where that holds other texts."""
    made = folder / TEXTS
    stream = None if made.exists() else read_stream(data, tokenizer, skip_bad)
    claim_folder(folder, {"data": fingerprint(data)})  # once they are read: what cannot be read claims nothing
    if stream is not None:
        stream.save(made)


def streams_of(config: Config, work: Path, tokenizer: PreTrainedTokenizerBase) -> tuple[dict[str, Source], Stream]:
    """What to learn from, half of it written by the target where that is asked for, and what to measure on; made once."""
    own = work / "written.npz"
    learned, held = split(Stream.load(work / "texts" / TEXTS), HELD_EVERY)
    sources = {"text": Source(learned, 1.0)}
    if config.written:
        if not own.exists():
            ends = frozenset([] if tokenizer.eos_token_id is None else [int(tokenizer.eos_token_id)])
            write_on(Path(resolve(config.model)), {"text": learned}, {"text": 1.0}, config.written, ends, config.seed).save(own)
        sources["written"] = Source(Stream.load(own), 1.0)
    return sources, held


def measured(config: Config, target: PreTrainedModel, heads: dict[str, Head], held: Stream) -> dict[str, list[float]]:
    """How often each head, as it is kept (bf16), agrees with the target on held-out text, by depth."""
    rows = Batches({"text": Source(held, 1.0)}, HELD_BATCHES, config.rows, config.length, config.seed)
    for head in heads.values():
        head.eval().to(torch.bfloat16).float()
    batches = [rows.batch(i) for i in range(HELD_BATCHES if config.limit is None else 1)]
    return agreement(target, heads, batches, fast_dtype(target.device.type) is torch.bfloat16)


def keep(config: Config, heads: dict[str, Head], rates: dict[str, list[float]], trained: dict[str, Any]) -> None:
    """Write a folder for each head. trained: how long they were."""
    for name, head in heads.items():
        report = {"accept_per_position": rates[name], **trained, "target": config.model, "loss": config.loss}
        replace_folder(config.out / name, partial(write, head, report))


def write(head: Head, report: dict[str, Any], folder: Path) -> None:
    Head.save_pretrained(head.to(torch.bfloat16), folder)
    (folder / "training.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
