"""Trains small translators of one pass on a grammar of known freedom of order, and says how well they write it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

import torch
from torch import Tensor

from paceline import plugins
from paceline.lm.memory import keep_memory
from paceline.models.translation.body import padded
from paceline.models.translation.config import PAD, TranslationConfig
from paceline.models.translation.mask_predict import refine
from paceline.models.translation.nat import Nat
from paceline.objectives import Loss
from paceline.objectives.xent import xent
from paceline.recipes.reproduce._grammar import LONGEST, VOCABULARY, Grammar, figures, held_out
from paceline.recipes.reproduce._record import Mean, mean_of, once
from paceline.train.checkpoint import claim_folder
from paceline.train.loop import Loop, train
from paceline.train.precision import flush_denormals
from paceline.train.translation import Gradient, fading, writes_at_once

__all__ = ["XE", "Arm", "Runs", "Sizes", "begun", "compared", "gained", "learning", "points", "ratio", "small"]

XE = "xe"
TUNED = 0.25  # of the rates, for weights that were trained before

Runs = dict[str, list[dict[str, float]]]  # arm -> the figures of each seed


@dataclass(frozen=True)
class Sizes:
    """Of every run. steps: of arms that begin anew; tuning: of those that go on. held: sentences that are written to measure."""

    width: int = 64
    layers: int = 2
    rows: int = 64
    steps: int = 400
    tuning: int = 100
    held: int = 1000


@dataclass(frozen=True)
class Arm:
    """objective: a plug-in, or XE over all places. fades: its option that falls from 1 to 0 on the way, such as `curriculum`.
    start: what is trained before.
    """

    objective: str
    steps: int
    fades: str = ""
    start: Arm | None = None

    def __str__(self) -> str:
        own = f"{self.objective} {self.fades} {self.steps}"
        return f"{self.start} {own}" if self.start else own


def begun(work: Path, fast: bool) -> Sizes:
    """The sizes, and their work folder claimed."""
    sizes = Sizes(width=16, layers=1, rows=8, steps=3, tuning=2, held=50) if fast else Sizes()
    flush_denormals()
    keep_memory()
    claim_folder(work, asdict(sizes))
    return sizes


def compared(work: Path, asked: Mapping[Grammar, Mapping[str, Arm]], sizes: Sizes, seeds: int) -> dict[Grammar, Runs]:
    """Figures of all arms; every one once before any twice, and what was trained before is read."""
    runs: dict[Grammar, Runs] = {grammar: {name: [] for name in arms} for grammar, arms in asked.items()}
    for seed, (grammar, arms) in product(range(seeds), asked.items()):
        for name, arm in arms.items():
            make = partial(measured, work, grammar, arm, sizes, seed)
            runs[grammar][name].append(once(folder(work, grammar, arm, seed).with_suffix(".json"), make))
    return runs


def folder(work: Path, grammar: Grammar, arm: Arm, seed: int) -> Path:
    name = f"{round(100 * grammar.subject_first)} {'agree ' * grammar.agree}{arm} {seed}"
    return work / "".join(char if char.isalnum() else "-" for char in name)


def measured(work: Path, grammar: Grammar, arm: Arm, sizes: Sizes, seed: int) -> dict[str, float]:
    """What the arm writes in one pass, lengths known. confidence: the mean probability of the tokens written."""
    model, sentences = trained(work, grammar, arm, sizes, seed), held_out(grammar, sizes.held)
    source = padded([sentence.source for sentence in sentences])
    lengths = (source != PAD).sum(1)
    with torch.no_grad():
        tokens, chances = refine(model, model.read(source)[0], lengths, 1)
    written = [row[:length] for row, length in zip(tokens.tolist(), lengths.tolist(), strict=True)]
    return figures(grammar, sentences, written) | {"confidence": float(chances[source != PAD].mean())}


def trained(work: Path, grammar: Grammar, arm: Arm, sizes: Sizes, seed: int) -> Nat:
    """A model on sentences that are new in every step, the same for all arms with this start; one that was killed goes on."""
    model = small(sizes, seed) if arm.start is None else trained(work, grammar, arm.start, sizes, seed)
    loop = Loop(folder(work, grammar, arm, seed), arm.steps, save_every_s=60)
    rate = 1.0 if arm.start is None else TUNED
    train(model, partial(grammar.batch, sizes.rows, (seed, str(arm.start))), learning(model, arm),
          replace(loop, matrix_lr=rate * loop.matrix_lr, other_lr=rate * loop.other_lr))
    return model.eval()


def small(sizes: Sizes, seed: int) -> Nat:
    torch.manual_seed(seed)
    return Nat(TranslationConfig(vocabulary=VOCABULARY, width=sizes.width, heads=4, ffn=4 * sizes.width, layers=sizes.layers,
                                 decoder_layers=sizes.layers, longest=LONGEST, dropout=0.0))


def learning(model: Nat, arm: Arm) -> Gradient:
    """How a step of the arm learns."""
    if arm.objective == XE:
        return writes_at_once(model, in_order, 0.0)
    return fading(model, plugins.make("objective", arm.objective), dict.fromkeys(filter(None, [arm.fades]), "linear"), arm.steps)


def in_order(logits: Tensor, target: Tensor) -> Loss:
    """XE over all places at once."""
    return xent(logits.flatten(0, 1), target.flatten())


def points(runs: Sequence[dict[str, float]], key: str) -> Mean:
    """A figure in percent, mean over seeds."""
    return mean_of([100 * run[key] for run in runs])


def ratio(ours: Sequence[dict[str, float]], theirs: Sequence[dict[str, float]], key: str) -> str:
    """How many times theirs ours is, seed by seed; nothing where theirs is 0."""
    pairs = [(one[key], other[key]) for one, other in zip(ours, theirs, strict=True)]
    return str(mean_of([one / other for one, other in pairs])) if all(other for _, other in pairs) else "–"


def gained(ours: Sequence[dict[str, float]], theirs: Sequence[dict[str, float]], key: str) -> str:
    """How many points more than theirs ours is, seed by seed."""
    return str(mean_of([100 * (one[key] - other[key]) for one, other in zip(ours, theirs, strict=True)]))
