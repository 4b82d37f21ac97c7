"""Trains a translator on parallel texts: a teacher, then a model that writes in one pass what the teacher wrote.

Every stage goes on where it was killed, with the same command, to the same weights: teacher (token by token), what it writes of
the sources (sequence-level distillation), the one-pass model by masked cross-entropy (CMLM), then by OaXE or n-gram OaXE.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

from paceline import plugins
from paceline.core.progress import waiting
from paceline.data.parallel import Pairs, languages, read_pairs, split
from paceline.errors import DataError, RequestError, SpecError, did_you_mean
from paceline.files import replace_json
from paceline.models.translation.config import TranslationConfig
from paceline.models.translation.direction import Direction
from paceline.models.translation.markov import Markov
from paceline.models.translation.nat import Nat
from paceline.models.translation.subwords import Subwords
from paceline.models.translation.translator import Translator
from paceline.train.checkpoint import claim_folder, replace_folder
from paceline.train.loop import Loop, train
from paceline.train.precision import flush_denormals
from paceline.train.progress import reporter
from paceline.train.schedule import falling
from paceline.train.translation import Encoded, Gradient, batches, distilled, fading, token_by_token, writes_at_once
from paceline.train.translation_metrics import can_score, measured, told

__all__ = ["Config", "run"]

log = logging.getLogger("paceline")

M = TypeVar("M", Nat, Markov)

OBJECTIVES = ("xe", "oaxe", "ngram_oaxe")
HELD = 2  # percent of the pairs that are held out where no test texts are given
BEAM = 4  # of the teacher
TUNED = 0.25  # of the peak rates, for the objective after cross-entropy
FREE = ("out", "src", "tgt", "test_src", "test_tgt", "objective", "anneal", "curriculum", "tuning_steps", "limit")


@dataclass(frozen=True)
class Config:
    """Options of the run."""

    src: str = "train.src"  # Sentences, one a line (.gz too), or both sides: .tsv, .mo, a folder of .mo, hub:NAME@en-de.
    tgt: str | None = None  # Their translations, line by line.
    test_src: str | None = None  # Sentences to measure on; else 2 % of the pairs are kept apart.
    test_tgt: str | None = None  # Their translations.
    out: Path = Path("translator")  # Receives the model; checkpoints go into its neighbour OUT.work.
    objective: str = "xe"  # xe, or after it oaxe, ngram_oaxe, with options such as ngram_oaxe:n=2,margin=0.15.
    anneal: str | None = None  # Let cross-entropy fade in the objective: linear, cosine, exponential, inverse_sigmoid.
    curriculum: str | None = None  # Let the phrases of ngram_oaxe shrink from whole sentences to n, by the same shapes.
    model: Literal["nat", "markov", "ar"] = "nat"  # In one pass; token by token, by the last ones alone or by all.
    order: int = 5  # Of a Markov model, in tokens.
    orders: tuple[int, ...] = ()  # Orders that a Markov model is trained for at once, 0 = all; given again.
    leak_free: str = "transparent"  # How a Markov model keeps its order: transparent, content-mlp, band-budget or unroll.
    raw: bool = False  # Let the one-pass model learn from the references, without a teacher.
    vocabulary: int = 4000  # Subwords of both languages.
    width: int = 128  # Of the models.
    layers: int = 3  # Of the encoder, and of the decoder.
    longest: int = 80  # Tokens of a sentence; pairs with longer ones are left out.
    dropout: float = 0.1  # While training.
    smoothing: float = 0.1  # Of labels, in cross-entropy.
    rows: int = 128  # Pairs in a step.
    teacher_steps: int = 2700  # Of the model that writes token by token.
    steps: int = 3400  # Of the one-pass model by cross-entropy; 0 = none, the objective starts from scratch.
    tuning_steps: int = 900  # Of the objective after that.
    seed: int = 0  # Of weights, batches and masks.
    limit: int | None = None  # At most so many steps in each stage: a smoke run.


def run(config: Config) -> Path:
    """Train, measure and save; returns ``config.out``, where ``training.json`` holds figures and examples.

    Raises:
        RequestError, SpecError: options that no run can follow. DataError: texts that cannot be read or do not fit, or a work
        folder of other texts or options.
    """
    objective = checked(config)
    flush_denormals()
    learned, test = texts(config)
    if not can_score():
        log.warning("BLEU and chrF are left out: they need sacrebleu, pip install 'paceline[translate]'")
    job = begun(config, learned)
    check_sides(job, test)
    made = {name: Translator(model, job.subwords, job.direction) for name, model in trained(job, objective).items()}
    figures = {name: measured(translator, test) for name, translator in made.items()}
    print("\n".join(told(name, some) for name, some in figures.items()), file=sys.stderr)

    def write(folder: Path) -> None:
        *others, last = made
        made[last].save(folder)
        for name in others:
            (folder / name).mkdir()
            made[name].save(folder / name)
        replace_json(folder / "training.json", {"pairs": len(job.pairs[0]), "measured": figures}, indent=2)

    return replace_folder(config.out, write)


def checked(config: Config) -> Any:
    """The objective after cross-entropy, or None."""
    name = plugins.parse(config.objective)[0]
    for count in ("width", "layers", "longest", "rows", "teacher_steps", "steps", "tuning_steps"):
        least = 0 if count == "steps" and name != "xe" else 1
        if getattr(config, count) < least:
            raise RequestError(f"Expected {count} to be at least {least}, found {getattr(config, count)}.")
    if (config.test_src is None) != (config.test_tgt is None):
        raise RequestError("Expected both --test-src and --test-tgt, or neither.")
    if name not in OBJECTIVES:
        raise SpecError(f"There is no objective {name!r} for translation.{did_you_mean(name, OBJECTIVES)}")
    if (config.anneal and name == "xe") or (config.curriculum and name != "ngram_oaxe"):
        raise RequestError("Expected --anneal with --objective oaxe or ngram_oaxe only, and --curriculum with ngram_oaxe only; "
                           f"found {config.objective}.")
    for shape in fades(config).values():
        falling(0, 1, shape)  # an unknown one is refused
    return None if name == "xe" else plugins.make("objective", config.objective)


def fades(config: Config) -> dict[str, str]:
    """What falls while the objective trains, and by which shape."""
    return {name: shape for name, shape in (("mix", config.anneal), ("curriculum", config.curriculum)) if shape}


def texts(config: Config) -> tuple[Pairs, Pairs]:
    """Pairs to learn from, and to measure on."""
    pairs = read_pairs(config.src, config.tgt)
    learned, test = split(pairs, HELD) if config.test_src is None else (pairs, read_pairs(config.test_src, config.test_tgt))
    if not len(test):
        raise DataError(f"Expected more pairs than {len(pairs)}: {HELD} % of them are held out. Name others with --test-src.")
    return learned, test


@dataclass(frozen=True)
class Job:
    """What the stages share; each has its own folder of `work`."""

    config: Config
    work: Path
    subwords: Subwords
    pairs: Encoded
    direction: Direction


def begun(config: Config, learned: Pairs) -> Job:
    """The work folder, claimed, with subwords in it and the texts in these."""
    settings = {key: str(value) for key, value in dataclasses.asdict(config).items() if key not in FREE}
    content = "\n".join(learned.source + learned.target).encode("utf-8", "surrogatepass")
    settings |= {"texts": f"{zlib.crc32(content):08x}"}
    work = claim_folder(config.out.with_name(config.out.name + ".work"), settings)
    subwords = subwords_stage(work / "subwords", learned, config.vocabulary)
    pairs = encoded(subwords, learned, config.longest)
    return Job(config, work, subwords, pairs, Direction.of(pairs, len(subwords), languages(config.src, config.tgt)))


def subwords_stage(folder: Path, learned: Pairs, vocabulary: int) -> Subwords:
    if not folder.exists():
        with waiting("finding subwords"):
            made = Subwords.trained(learned.source + learned.target, vocabulary)
        replace_folder(folder, made.save)
    return Subwords.load(folder)


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
    if job.direction.backwards(i for text in test.source for i in job.subwords.encode(text)):
        raise DataError(f"Expected {job.config.test_src or job.config.src} in the language of {job.config.src}, found that of the "
                        "translations; exchange --test-src and --test-tgt.")


def trained(job: Job, objective: Any) -> dict[str, Nat | Markov]:
    """The models by name, the one that was asked for last."""
    c, pairs, models = job.config, job.pairs, dict[str, Nat | Markov]()
    if c.model == "markov":
        return {"markov": writer(job, "markov", c.orders, order=c.order, leak_free=c.leak_free)}
    if c.model == "ar" or not c.raw:
        models["teacher"] = teacher = writer(job, "teacher")
    if c.model == "ar":
        return models
    if not c.raw:
        with reporter("distilled", len(pairs[0])) as report:
            pairs = distilled(teacher, pairs, job.work / "distilled", BEAM, report)
    if c.steps:
        model = fresh(c, Nat, len(job.subwords))
        models["xe"] = fit(job, "xe", model, writes_at_once(model, None, c.smoothing), pairs, c.steps)
    if objective is not None:
        models[c.objective.partition(":")[0]] = tuned(job, objective, pairs, models.get("xe"))
    return models


def writer(job: Job, name: str, orders: tuple[int, ...] = (), **options: Any) -> Markov:
    """A model that writes token by token."""
    model = fresh(job.config, Markov, len(job.subwords), **options)
    return fit(job, name, model, token_by_token(model, orders, job.config.smoothing), job.pairs, job.config.teacher_steps)


def tuned(job: Job, objective: Any, pairs: Encoded, start: Any) -> Nat:
    """A one-pass model by an objective, from the weights of another or from scratch."""
    c, model = job.config, fresh(job.config, Nat, len(job.subwords))
    if start is not None:
        model.load_state_dict(start.state_dict())
    falls = fades(c)
    folder = folder_of(" ".join([c.objective, str(c.tuning_steps), *(f"{name} {shape}" for name, shape in falls.items())]))
    gradient = fading(model, objective, falls, c.tuning_steps)
    return fit(job, folder, model, gradient, pairs, c.tuning_steps, TUNED if start else 1.0)


def folder_of(objective: str) -> str:
    """Where its checkpoints go: other options, other folder."""
    return "".join(char if char.isalnum() else "-" for char in objective)


def fresh(config: Config, kind: type[M], vocabulary: int, **options: Any) -> M:
    """A model before training."""
    torch.manual_seed(config.seed)
    return kind(TranslationConfig(
        vocabulary=vocabulary, width=config.width, heads=max(1, config.width // 32), ffn=4 * config.width, layers=config.layers,
        decoder_layers=config.layers, longest=config.longest, dropout=config.dropout, **options,
    ))  # fmt: skip


def fit(job: Job, name: str, model: M, gradient: Gradient, pairs: Encoded, steps: int, rate: float = 1.0) -> M:
    """The model, trained in its folder at this share of the peak rates."""
    loop = Loop(job.work / name, steps if job.config.limit is None else min(steps, job.config.limit))
    loop = dataclasses.replace(loop, matrix_lr=rate * (loop.matrix_lr or 0.0), other_lr=rate * loop.other_lr)
    feed: Any = batches(pairs, job.config.rows, job.config.seed)
    with reporter(name, loop.steps) as report:
        train(model, feed, gradient, loop, report=report)
    return model.eval()
