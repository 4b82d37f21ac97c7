"""bf16 breaks rotary positions (Wang et al. 2024, arXiv 2411.13476): measured again on a pretrained model, and on controls.

Positions of a whole text move by the same number, and what should not change does: D, by length, by precision and by shift; the
first key's share of it; the same in a whole bf16 model, pretrained and freshly initialised. Then what the paper did not do: the
first key is masked, so that the sink moves on, and the drift is looked for where the sink is now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn.init import kaiming_uniform_

from paceline import intervene, probe
from paceline.bench.long_prompts import LEAST, long_prompts
from paceline.bench.tasks import encode
from paceline.core.reading import Reading
from paceline.errors import RequestError
from paceline.lm.interventions import mask
from paceline.lm.load import opened
from paceline.lm.trace import Subject, subject
from paceline.probes.rope_drift import RopeDrift
from paceline.probes.sinks import Sinks
from paceline.recipes.reproduce._record import once, picture, write_record
from paceline.recipes.reproduce.rope_drift._page import draw, written_up
from paceline.train.checkpoint import claim_folder

__all__ = ["Config", "run"]

LONG, SHORT = (512, 1024, 2048, 4096, 8192), (64, 128, 256, 512)
SHIFTS = (0, 2, 8, 14, 15, 17, 18, 22, 50, 200, 1000, 2000)  # against 16, of the paper's 19
KEPT = ("drift", "first_share", "first_logit", "by_key", "sinks")
CONTROL = "zoo:tiny"  # which has no sink
SEEDS = 3  # of a model that has learned nothing


@dataclass(frozen=True)
class Config:
    """Options of the run."""

    model: str = "smol"  # Any that rotates and has a tokenizer.
    out: Path = Path("benchmarks/reproduce")  # Receives rope_drift.json, .md and .png.
    work: Path = Path("work")  # Keeps the finished parts.
    texts: int = 3  # Long ones, and as many for the whole model; three times as many short ones.
    every: int = 9  # In long texts, look at every so many-th layer.
    fast: bool = False  # Short texts and the embedded model, to see that all works.


def run(config: Config) -> Path:
    """Measure and write the record; returns the page's path. What was killed goes on with the same command."""
    if not 1 <= config.texts <= 5 or config.every < 1:
        raise RequestError(f"Expected 1 to 5 texts and every of at least 1, found {config.texts} and {config.every}.")
    config = replace(config, model="zoo:tiny", texts=2, every=4) if config.fast else config
    long, short = ((64, 128), (32, 64)) if config.fast else (LONG, SHORT)
    settings = {name: getattr(config, name) for name in ("model", "texts", "every", "fast")}
    work, looked = claim_folder(config.work / "rope_drift", settings), subject(config.model)
    found: dict[str, Any] = {"settings": settings}
    few = texts(looked, config.texts, short[-1])
    shifts = RopeDrift(shifts=SHIFTS, modes=("bf16",), lengths=short[-1:])
    found["shifts"] = once(work / "shifts.json", partial(figures, looked, shifts, few))
    found["sinks"] = once(work / "sinks.json", partial(sinks, looked, 3 * config.texts, short[-1]))
    for name in ("pretrained, bf16", "pretrained, fp32", *(f"untrained, bf16, {seed}" for seed in range(SEEDS))):
        given = few[: 1 if name.startswith("untrained") else None]
        found[name] = once(work / f"{name.replace(', ', '-')}.json", partial(whole, config.model, name, short, given))
    drift = RopeDrift(lengths=long, every=config.every)
    found["long"] = [once(work / f"long-{i}.json", partial(figures, looked, drift, [text]))
                     for i, text in enumerate(texts(looked, config.texts, long[-1]))]
    page = config.out / "rope_drift.md"
    write_record(config.out, "rope_drift", found, written_up(found))
    picture(page.with_suffix(".png"), partial(draw, found), 3)
    return page


def texts(looked: Subject, count: int, length: int) -> list[list[int]]:
    """So many tokens of documents and of code, in turns."""
    prompts = [long_prompts(kind, max(length, LEAST))[i] for i in range((count + 1) // 2) for kind in ("document", "completion")]
    return [encode(looked.tokenizer, prompt)[:length] for prompt in prompts[:count]]


def figures(looked: Any, options: RopeDrift, given: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Of every figure, what it is for each text."""
    return listed(probe(looked, [options], list(given))[0])


def listed(reading: Reading) -> dict[str, Any]:
    ticks = {axis: list(marks) for figure in reading.values.values() for axis, marks in figure.ticks.items()}
    return {"ticks": ticks} | {name: reading.values[name].each.tolist() for name in KEPT}


def sinks(looked: Subject, count: int, length: int) -> dict[str, Any]:
    """Where heads sink and where the drift is: in the model as it is, with the first key masked, and in one without sinks."""
    asked = [RopeDrift(modes=("bf16",), lengths=(length,)), Sinks(length=min(64, length), first=2)]

    def seen(model: Subject) -> dict[str, Any]:
        drift, sink = probe(model, asked, list(texts(model, count, length)))
        return listed(drift) | {"total": sink.values["total"].each.tolist()}

    with intervene(looked, mask) as masked:
        return {"as it is": seen(looked), "first key masked": seen(masked), CONTROL: seen(subject(CONTROL))}


def whole(model: str, name: str, lengths: Sequence[int], given: Sequence[Sequence[int]]) -> dict[str, Any]:
    """The paper's own measure: the whole model at other positions, so that lower layers' drift is in it."""
    kind, dtype, *seed = name.split(", ")
    made = module(model)
    if kind == "untrained":
        forget(made, int(seed[0]))
    options = RopeDrift(shifts=(0, 1000), lengths=tuple(lengths), whole=True)
    return figures(made.to({"bf16": torch.bfloat16, "fp32": torch.float32}[dtype]), options, given)


def module(name: str) -> Any:
    """A model of any kind as transformers computes it, in fp32."""
    from transformers import AutoConfig, AutoModelForCausalLM

    found, _ = opened(name)
    if isinstance(found, torch.nn.Module):
        return found
    weights = found.state()
    config = AutoConfig.for_model(**vars(found.settings), tie_word_embeddings="lm_head.weight" not in weights)
    made = AutoModelForCausalLM.from_config(config)
    made.load_state_dict(weights, strict=False)  # the head may be the embedding's
    return made.eval()


def forget(model: Any, seed: int) -> None:
    """Linears as Kaiming's uniform initialisation makes them (He et al. 2015), which is the paper's control."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for part in model.modules():
            if isinstance(part, torch.nn.Linear):
                kaiming_uniform_(part.weight)
