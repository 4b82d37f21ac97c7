"""Trains a hybrid model that `paceline convert` has made, so that its cut layers learn to do with few keys (LightTransfer-Train).

These layers see in training what their cache will hold: the first keys and the last ones. What is killed goes on from its newest
checkpoint with the same command and ends with the same weights. Source: Zhang et al. 2024, arXiv 2410.13846, section 4, where all
weights learn; departure: low-rank adapters may learn in their place.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import AutoConfig, PreTrainedModel, PreTrainedTokenizerBase

from paceline.data.corpus import Stream
from paceline.data.folder import split
from paceline.errors import DataError, ModelError, RequestError
from paceline.lm.load import resolve
from paceline.lm.sources.compatibility import window_of
from paceline.objectives.xent import xent
from paceline.recipes.train_draft import HELD_EVERY, TEXTS, load_target, pack
from paceline.train.checkpoint import check_replaceable, claim_folder, replace_folder
from paceline.train.evaluate import held_out_loss
from paceline.train.forward import language
from paceline.train.loop import Loop, train
from paceline.train.packing import Batches, Source
from paceline.train.precision import fast_dtype, flush_denormals
from paceline.train.progress import reporter

__all__ = ["Config", "run"]

RATE, ADAPTER_RATE = 1e-5, 2e-4


@dataclass(frozen=True)
class Config:
    """Options of the run."""

    data: Path = Path("data")  # A file or folder of .txt, .md, .py, .jsonl (text, prompt and answer, messages) or .npz streams.
    out: Path = Path("tuned")  # Receives the model; checkpoints go into a folder beside it, with .work behind its name.
    model: str = "hybrid"  # The folder that `paceline convert --selector …` has written. It is not changed.
    tokens: int = 1_000_000  # How long to train.
    lora: int = 0  # Train low-rank adapters of this rank, which are merged in the end, instead of all weights.
    rate: float | None = None  # Peak learning rate (AdamW); not given: 1e-5, with adapters 2e-4.
    rows: int = 4  # Texts in a step.
    length: int = 2048  # Tokens of each, more than a cut layer keeps.
    seed: int = 0  # Of the adapters and the order of the texts.
    skip_bad: bool = False  # Leave out lines of .jsonl files that cannot be read, instead of stopping.
    half: bool | None = None  # Matrix products in bf16; not given: where that is faster on this machine.
    limit: int | None = None  # At most so many steps: a smoke run.


def run(config: Config) -> Path:
    """Train the model and write it, its held-out loss before and after in `training.json`; returns ``config.out``.

    Raises:
        RequestError: options that no run can follow. ModelError: a model that was not converted, or adapters without peft.
        DataError: no texts, none long enough, or the work of another configuration or other texts.
    """
    model, tokenizer = load_target(config.model)
    kept = check(config, model)
    check_replaceable(config.out)
    flush_denormals()
    free = ("data", "out", "tokens", "skip_bad")
    settings = {key: str(value) for key, value in dataclasses.asdict(config).items() if key not in free}
    settings["hybrid"] = f"{model.config.layer_types} {model.config.sliding_window} {model.config.paceline}"
    work = claim_folder(config.out.with_name(f"{config.out.name}.work"), settings)
    pack(config.data, work / "texts", tokenizer, config.skip_bad)
    learned, held = split(Stream.load(work / "texts" / TEXTS), HELD_EVERY)
    if (longest := int(np.diff(learned.starts).max())) <= kept:
        raise DataError(f"Expected texts longer than the {kept} keys that a cut layer keeps, found at most {longest} tokens: "
                        "give longer ones, or convert with a smaller recent.")
    half = fast_dtype(model.device.type) is torch.bfloat16 if config.half is None else config.half
    before = held_out_loss(model, held, config.length, autocast=half).loss
    model, seconds = tuned(config, model, learned, work / "steps", half)
    after = held_out_loss(model, held, config.length, autocast=half).loss
    return keep(config, model, tokenizer, {"loss_before": before, "loss_after": after, "minutes": round(seconds / 60, 1)})


def check(config: Config, model: PreTrainedModel) -> int:
    """How many keys a cut layer keeps; raises for options that do not fit."""
    for name in ("tokens", "rows", "length"):
        if getattr(config, name) < 1:
            raise RequestError(f"Expected {name} to be at least 1, found {getattr(config, name)}.")
    if config.lora < 0 or config.rate is not None and config.rate <= 0:
        raise RequestError(f"Expected lora of at least 0 and a rate above 0, found {config.lora} and {config.rate}.")
    if not getattr(model.config, "paceline", None) or (window := window_of(model.config)) is None:
        raise ModelError(f"{config.model!r} has no cut layers to train: convert it first, with paceline convert {config.model} "
                         "--selector lighttransfer:keep=0.5 --prompts FILE --out hybrid/.")
    if config.out.resolve() == Path(resolve(config.model)).resolve():
        raise RequestError(f"Expected another folder than the model's for --out, found {config.out} for both.")
    if config.length <= (kept := window.sinks + window.window):
        raise RequestError(f"Expected length to be more than the {kept} keys that a cut layer keeps, found {config.length}.")
    return kept


def tuned(config: Config, model: PreTrainedModel, texts: Stream, folder: Path, half: bool) -> tuple[PreTrainedModel, float]:
    """The model after training, adapters merged, and the seconds it took. An answer is never torn from what was asked."""
    steps = max(1, config.tokens // (config.rows * config.length))
    steps = steps if config.limit is None else min(steps, config.limit)
    source = Source(texts, 1.0, whole=not texts.learn.all())
    batches = Batches({"text": source}, steps, config.rows, config.length, config.seed)
    learner: Any = adapted(model, config) if config.lora else model
    rate = config.rate or (ADAPTER_RATE if config.lora else RATE)
    loop = Loop(folder, steps, matrix_lr=0.0, other_lr=rate, autocast=half)
    with reporter("hybrid", steps) as report:
        seconds = train(learner, batches.batch, language(model, xent), loop, report=report)
    model = learner.merge_and_unload() if config.lora else model
    model.set_attn_implementation("sdpa")
    return model, seconds


def adapted(model: PreTrainedModel, config: Config) -> Any:
    """The model with adapters beside its linears, which alone are trained."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError as error:
        raise ModelError("Low-rank adapters need peft: install paceline[lora].") from error
    torch.manual_seed(config.seed)
    return get_peft_model(model, LoraConfig(r=config.lora, lora_alpha=2 * config.lora, target_modules="all-linear"))


def keep(config: Config, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, report: dict[str, float]) -> Path:
    """Write the folder, weights in the dtype that the hybrid's have."""
    model.to(AutoConfig.from_pretrained(resolve(config.model)).dtype)

    def write(fresh: Path) -> None:
        model.save_pretrained(fresh)
        tokenizer.save_pretrained(fresh)
        (fresh / "training.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")

    return replace_folder(config.out, write)
