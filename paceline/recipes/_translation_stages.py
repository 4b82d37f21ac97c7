"""The stages of `train_translate`: functions of one `Job`, each with a folder of its own in OUT.work, where it goes on after a
kill.
"""

from __future__ import annotations

import dataclasses
import logging
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from paceline.core.progress import waiting
from paceline.data.parallel import Pairs, languages
from paceline.errors import DataError
from paceline.models.translation.config import TranslationConfig
from paceline.models.translation.direction import Direction
from paceline.models.translation.markov import Markov
from paceline.models.translation.nat import Nat
from paceline.models.translation.subwords import Subwords
from paceline.train.checkpoint import claim_folder, replace_folder
from paceline.train.loop import Loop, train
from paceline.train.progress import reporter
from paceline.train.translation import Encoded, Gradient, batches, distilled, fading, token_by_token, writes_at_once

if TYPE_CHECKING:
    from paceline.recipes.train_translate import Config

__all__ = ["RATE", "Job", "begun", "check_sides", "fades", "trained"]

log = logging.getLogger("paceline")

M = TypeVar("M", Nat, Markov)

BEAM = 4  # of the teacher
RATE = 1e-2  # peak, of embeddings and norms; at 3e-3 the first 200 steps reach 3.24 nats, with this 2.94
TUNED = 0.25  # of the peak rates, for the objective after cross-entropy
# What may change between two runs in the same folder:
FREE = ("out", "src", "tgt", "test_src", "test_tgt", "pairs", "objective", "anneal", "curriculum", "raw", "steps", "tuning_steps")


@dataclass(frozen=True)
class Job:
    """What the stages share; each has its own folder of `work`."""

    config: Config
    work: Path
    subwords: Subwords
    pairs: Encoded
    direction: Direction


def begun(config: Config, learned: Pairs) -> Job:
    """The work folder with subwords in it, and the texts in these; claimed when nothing is left to refuse."""
    shape(config, config.vocabulary, order=config.order, leak_free=config.leak_free)
    work = config.out.with_name(config.out.name + ".work")
    subwords = subwords_of(work / "subwords", learned, config.vocabulary)
    pairs = encoded(subwords, learned, config.longest)
    settings = {key: str(value) for key, value in dataclasses.asdict(config).items() if key not in FREE}
    content = "\n".join(learned.source + learned.target).encode("utf-8", "surrogatepass")
    claim_folder(work, settings | {"texts": f"{zlib.crc32(content):08x}"})
    if not (work / "subwords").exists():
        replace_folder(work / "subwords", subwords.save)
    return Job(config, work, subwords, pairs, Direction.of(pairs, len(subwords), languages(config.src, config.tgt)))


def subwords_of(folder: Path, learned: Pairs, vocabulary: int) -> Subwords:
    """Those in the folder, or new ones."""
    if folder.exists():
        return Subwords.load(folder)
    with waiting("finding subwords"):
        return Subwords.trained(learned.source + learned.target, vocabulary)


def encoded(subwords: Subwords, learned: Pairs, longest: int) -> Encoded:
    """Ids of the pairs that are short enough."""
    both = zip(learned.source, learned.target, strict=True)
    ids = [(subwords.encode(source), subwords.encode(target, source)) for source, target in both]
    kept = [pair for pair in ids if max(map(len, pair)) <= longest]
    if len(kept) < len(ids):
        log.warning("%d pairs with more than %d tokens were left out", len(ids) - len(kept), longest)
    if not kept:
        raise DataError(f"Expected pairs of at most {longest} tokens, found none; raise --longest.")
    return [source for source, _ in kept], [target for _, target in kept]


def check_sides(job: Job, test: Pairs) -> None:
    """Raises DataError, before anything is trained, where the sources of the test are in the language of the targets."""
    c = job.config
    if c.test_src and job.direction.backwards(i for text in test.source for i in job.subwords.encode(text)):
        raise DataError(f"Expected {c.test_src} in the language of {c.src}, found that of its translations; exchange --test-src "
                        "and --test-tgt.")


def trained(job: Job, objective: Any) -> dict[str, Nat | Markov]:
    """The models by name, the one that was asked for last."""
    c = job.config
    if c.model == "markov":
        return {"markov": writer(job, "markov", c.orders, order=c.order, leak_free=c.leak_free)}
    teacher = writer(job, "teacher") if c.teacher_steps else None
    models: dict[str, Nat | Markov] = {} if teacher is None else {"teacher": teacher}
    if c.model == "ar":
        return models
    pairs = job.pairs if teacher is None or c.raw else rewritten(job, teacher)
    if c.steps:
        start = beginning(job, teacher)
        models["xe"] = fit(job, named(c, "xe", c.steps), start, writes_at_once(start, None, c.smoothing), pairs, c.steps)
    if objective is not None:
        models[c.objective.partition(":")[0]] = tuned(job, objective, pairs, models.get("xe", teacher))
    return models


def writer(job: Job, name: str, orders: tuple[int, ...] = (), **options: Any) -> Markov:
    """A model that writes token by token."""
    model = fresh(job.config, Markov, len(job.subwords), **options)
    return fit(job, name, model, token_by_token(model, orders, job.config.smoothing), job.pairs, job.config.teacher_steps)


def rewritten(job: Job, teacher: Markov) -> Encoded:
    """The sources with what the teacher writes of them."""
    with reporter("distilled", len(job.pairs[0])) as report:
        return distilled(teacher, job.pairs, job.work / "distilled", BEAM, report)


def beginning(job: Job, start: Nat | Markov | None) -> Nat:
    """A one-pass model with the weights of another; a teacher has all but those for lengths. From scratch where there is none."""
    model = fresh(job.config, Nat, len(job.subwords))
    if isinstance(start, Nat):
        model.load_state_dict(start.state_dict())
    elif start is not None:
        model.body.load_state_dict(start.body.state_dict())
    return model


def tuned(job: Job, objective: Any, pairs: Encoded, start: Nat | Markov | None) -> Nat:
    """A one-pass model by an objective."""
    c, model = job.config, beginning(job, start)
    falls = fades(c)
    folder = named(c, c.objective, f"{c.steps}+{c.tuning_steps}", *(f"{name} {falls[name]}" for name in falls))
    gradient = fading(model, objective, falls, c.tuning_steps)
    return fit(job, folder, model, gradient, pairs, c.tuning_steps, TUNED if isinstance(start, Nat) else 1.0)


def fades(config: Config) -> dict[str, str]:
    """What falls while the objective trains, and by which shape."""
    return {name: shape for name, shape in (("mix", config.anneal), ("curriculum", config.curriculum)) if shape}


def named(config: Config, *parts: object) -> str:
    """Where checkpoints go: other texts or options, other folder."""
    name = " ".join(map(str, ("raw" if config.raw else "distilled", *parts)))
    return "".join(char if char.isalnum() else "-" for char in name)


def fresh(config: Config, kind: type[M], vocabulary: int, **options: Any) -> M:
    """A model before training."""
    torch.manual_seed(config.seed)
    return kind(shape(config, vocabulary, **options))


def shape(config: Config, vocabulary: int, **options: Any) -> TranslationConfig:
    """Of all models of a job. Raises RequestError for sizes that make none."""
    return TranslationConfig(
        vocabulary=vocabulary, width=config.width, heads=max(1, config.width // 32), ffn=4 * config.width, layers=config.layers,
        decoder_layers=config.layers, longest=config.longest, dropout=config.dropout, **options,
    )  # fmt: skip


def fit(job: Job, name: str, model: M, gradient: Gradient, pairs: Encoded, steps: int, rate: float = 1.0) -> M:
    """The model, trained in its folder at this share of the peak rates."""
    steps = steps if job.config.limit is None else min(steps, job.config.limit)
    loop = Loop(job.work / name, steps, matrix_lr=rate * Loop.matrix_lr, other_lr=rate * RATE)
    feed: Any = batches(pairs, job.config.rows, job.config.seed)
    with reporter(name, loop.steps) as report:
        train(model, feed, gradient, loop, report=report)
    return model.eval()
