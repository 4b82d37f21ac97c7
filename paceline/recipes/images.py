"""Trains a small model that draws digits pixel by pixel, and its draft: autoregressive images on two CPU cores in minutes.

The target learns scikit-learn's digits behind a class token, which is left out for a tenth of the images, so that it can be
guided (Ho and Salimans, arXiv 2207.12598). The draft learns the target's law (forward KL) on images that the target drew. Every
stage leaves a file and is skipped when that is there; training goes on from its newest checkpoint.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import LlamaForCausalLM

from paceline.core.guidance import Guidance
from paceline.core.request import Request
from paceline.core.row import Generation
from paceline.core.sampling import Sampling
from paceline.data.digits import CLASSES, LEVELS, NULL, PIXELS, SIDE, VOCABULARY, Images, augmented, load_digits, made_up
from paceline.engine import Engine
from paceline.errors import RequestError
from paceline.files import replace_json, replacing
from paceline.lm import load
from paceline.lm.load import quiet
from paceline.objectives.distil import distil
from paceline.objectives.xent import xent
from paceline.recipes._png import grid, write_png
from paceline.train.checkpoint import claim_folder, replace_folder
from paceline.train.export import in_bf16
from paceline.train.forward import language
from paceline.train.llama import Size, llama_of
from paceline.train.loop import Loop, train
from paceline.train.packing import Batch
from paceline.train.precision import flush_denormals
from paceline.train.progress import reporter

__all__ = ["Config", "asked", "pictures", "run"]

SIZES = {"target": Size(192, 6, 3, 3, 512, context=128), "draft": Size(96, 1, 3, 3, 256, context=128)}
FAST_SIZES = {"target": Size(32, 2, 2, 2, 64, context=128), "draft": Size(16, 1, 1, 1, 32, context=128)}
TOGETHER = 50  # images drawn at once


@dataclass(frozen=True)
class Config:
    """Options of the run."""

    out: Path = Path("digits")  # Receives target, draft, grid.png and images.json; checkpoints go into its folder work.
    steps: int = 240  # Of the target's training, 64 images each; with 600 it knew the images by heart.
    draft_steps: int = 500  # Of the draft's.
    drawn: int = 1500  # Images that the target draws for the draft to learn from.
    dropout: float = 0.1  # Share of the images whose class is left out.
    guidance: float = 1.5  # Scale for the images of grid.png.
    rows: int = 64  # Images in a step.
    seed: int = 0  # Of the weights, the order of the images and what is drawn.
    fast: bool = False  # Tiny models, made-up images and a few steps, to see that all works.


def run(config: Config) -> Path:
    """Do what is not yet done; returns ``config.out``.

    Raises:
        RequestError: numbers that make no sense. ModelError: scikit-learn is missing. DataError: ``config.out`` holds the work
        of another configuration.
    """
    if not 0 <= config.dropout < 1 or min(config.steps, config.draft_steps, config.drawn, config.rows) < 1:
        raise RequestError(f"Expected a dropout from 0 to below 1 and steps, draft_steps, drawn and rows of at least 1; found "
                           f"{config.dropout}, {config.steps}, {config.draft_steps}, {config.drawn} and {config.rows}.")
    flush_denormals()
    with quiet():
        do(config)
    return config.out


def do(config: Config) -> None:
    """The stages, in order."""
    settings = {key: value for key, value in dataclasses.asdict(config).items() if key not in ("out", "guidance")}
    work = claim_folder(config.out / "work", settings)
    learned, held = (made_up() if config.fast else load_digits()).split()
    fit(config, work, "target", learned)
    own = drawn(config, work)
    fit(config, work, "draft", own, LlamaForCausalLM.from_pretrained(config.out / "target", dtype=torch.float32))
    report = measured(config, held)
    replace_json(config.out / "images.json", report, indent=2)
    sheet = pictures(config.out, asked(list(range(CLASSES)) * (1 if config.fast else 8), config.guidance, config.seed))
    write_png(config.out / "grid.png", grid(pixels(sheet) / (LEVELS - 1), CLASSES))


def fit(config: Config, work: Path, name: str, images: Images, teacher: LlamaForCausalLM | None = None) -> None:
    """Train the model called ``name`` (target or draft) and write its folder; nothing where that is there."""
    if (config.out / name).exists():
        return
    steps = 6 if config.fast else config.steps if name == "target" else config.draft_steps
    model = llama_of((FAST_SIZES if config.fast else SIZES)[name], VOCABULARY, config.seed + len(name))
    objective = xent if teacher is None else partial(distil, hard_share=0.0)
    gradient = language(model, objective, None if teacher is None else teacher.eval().requires_grad_(False))
    batches = partial(batch, images, config, augment=teacher is None)
    with reporter(name, steps) as report:
        train(model, batches, gradient, Loop(work / name, steps, matrix_lr=0.01, other_lr=2e-3), report=report)
    replace_folder(config.out / name, in_bf16(model).save_pretrained)


def batch(images: Images, config: Config, step: int, augment: bool) -> Batch:
    """The images of a step, the same in any process; some without their class."""
    rng = np.random.default_rng([config.seed, step])
    chosen = images.pick(rng.integers(0, len(images), config.rows))
    return laid_out(augmented(chosen, rng) if augment else chosen, rng.random(config.rows) < config.dropout)


def laid_out(images: Images, dropped: np.ndarray | bool = False) -> Batch:
    """Rows [B, 64]: a class token (the null class where ``dropped``) and all pixels but the last, labelled with the pixels."""
    first = np.where(dropped, NULL, images.classes + LEVELS)
    tokens = torch.from_numpy(np.concatenate((first[:, None], images.pixels[:, :-1]), 1))
    return Batch(tokens, torch.from_numpy(images.pixels), torch.arange(PIXELS).expand_as(tokens), torch.zeros_like(tokens))


def asked(classes: list[int], guidance: float = 1.0, seed: int = 0) -> list[Request]:
    """A request for an image of each class, drawn at temperature 1."""
    null = None if guidance == 1.0 else Guidance(guidance, [NULL])
    bias = dict.fromkeys(range(LEVELS, VOCABULARY), float("-inf"))  # a pixel is a grey level
    sampling = Sampling(temperature=1.0, logit_bias=bias, seed=seed)
    return [Request([LEVELS + c], sampling, PIXELS, stream=i, guidance=null) for i, c in enumerate(classes)]


def pictures(folder: Path, requests: list[Request], **how: Any) -> list[Generation]:
    """Draw with the target in ``folder``; ``how``: drafter, rule and controller of the engine."""
    return Engine(load(str(folder / "target"), dtype="fp32"), slots=TOGETHER, **how).run(requests)


def pixels(drawn: list[Generation]) -> np.ndarray:
    """Grey levels [N, 8, 8]."""
    return np.array([g.tokens for g in drawn]).reshape(-1, SIDE, SIDE)


def drawn(config: Config, work: Path) -> Images:
    """Images of all classes that the target drew; made once."""
    path, count = work / "drawn.npz", CLASSES * 2 if config.fast else config.drawn
    if not path.exists():
        classes = [i % CLASSES for i in range(count)]
        made = pixels(pictures(config.out, asked(classes, seed=config.seed + 1))).reshape(count, PIXELS)
        with replacing(path) as fresh, open(fresh, "wb") as file:
            np.savez(file, pixels=made, classes=np.array(classes))
    found = np.load(path)
    return Images(found["pixels"], found["classes"])


@torch.inference_mode()
def measured(config: Config, held: Images) -> dict[str, Any]:
    """Held-out loss of both in nats per pixel, and how far their laws are from each other, row of the image by row."""
    logits = {name: LlamaForCausalLM.from_pretrained(config.out / name, dtype=torch.float32)(laid_out(held).tokens).logits
              for name in SIZES}
    labels = torch.from_numpy(held.pixels)
    loss = {name: float(torch.nn.functional.cross_entropy(x.flatten(0, 1), labels.flatten())) for name, x in logits.items()}
    p, q = (x.softmax(-1) for x in logits.values())
    apart = (p - q).abs().sum(-1).mean(0) / 2
    return {"nats_per_pixel": loss, "tv": float(apart.mean()), "tv_by_row": apart.reshape(SIDE, SIDE).mean(1).tolist(),
            "images": len(held)}
