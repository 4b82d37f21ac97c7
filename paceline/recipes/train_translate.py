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
from typing import Any, Literal

import torch

from paceline import plugins
from paceline.core.progress import waiting
from paceline.data.parallel import Pairs, read_pairs, split
from paceline.errors import DataError, RequestError, SpecError, did_you_mean
from paceline.files import replace_json
from paceline.models.translation.config import TranslationConfig
from paceline.models.translation.markov import Markov
from paceline.models.translation.nat import Nat
from paceline.models.translation.subwords import Subwords
from paceline.models.translation.translator import Translator
from paceline.train.checkpoint import claim_folder, replace_folder
from paceline.train.loop import Loop, train
from paceline.train.precision import flush_denormals
from paceline.train.progress import reporter
from paceline.train.translation import Encoded, Gradient, batches, distilled, token_by_token, writes_at_once
from paceline.train.translation_metrics import can_score, measured, told

__all__ = ["Config", "run"]

log = logging.getLogger("paceline")

OBJECTIVES = ("xe", "oaxe", "ngram_oaxe")
HELD = 2  # percent of the pairs that are held out where no test texts are given
BEAM = 4  # of the teacher
RATE = 1e-2  # peak, of embeddings and norms; at 3e-3 the first 200 steps reach 3.24 nats, with this 2.94
TUNED = 0.25  # of the peak rates, for the objective after cross-entropy


@dataclass(frozen=True)
class Config:
    """Options of the run."""

    src: str = "train.src"  # Sentences, one a line (.gz too), or both sides: .tsv, .mo, a folder of .mo, hub:NAME@en-de.
    tgt: str | None = None  # Their translations, line by line.
    test_src: str | None = None  # Sentences to measure on; else 2 % of the pairs are kept apart.
    test_tgt: str | None = None  # Their translations.
    out: Path = Path("translator")  # Receives the model; checkpoints go into its neighbour OUT.work.
    objective: str = "xe"  # xe, or after it oaxe, ngram_oaxe, with options such as ngram_oaxe:n=2,margin=0.15.
    model: Literal["nat", "markov", "ar"] = "nat"  # In one pass; token by token, by the last ones alone or by all.
    order: int = 5  # Of a Markov model, in tokens.
    orders: tuple[int, ...] = ()  # Orders that a Markov model is trained for at once, 0 = all; given again.
    leak_free: str = "transparent"  # How a Markov model keeps its order: transparent, content-mlp, band-budget or unroll.
    pairs: int | None = None  # Learn from so many pairs, the first ones; None = all.
    raw: bool = False  # Let the one-pass model learn from the references, without a teacher.
    vocabulary: int = 4000  # Subwords of both languages.
    width: int = 128  # Of the models.
    layers: int = 3  # Of the encoder, and of the decoder.
    longest: int = 80  # Tokens of a sentence; pairs with longer ones are left out.
    dropout: float = 0.1  # While training.
    smoothing: float = 0.1  # Of labels, in cross-entropy.
    rows: int = 128  # Pairs in a step.
    teacher_steps: int = 1800  # Of the model that writes token by token.
    steps: int = 2400  # Of the one-pass model by cross-entropy.
    tuning_steps: int = 600  # Of the objective after that.
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
    job = Job(config, learned)
    models = job.made(objective)
    figures = {name: measured(Translator(model, job.subwords), test) for name, model in models.items()}
    print("\n".join(told(name, some) for name, some in figures.items()), file=sys.stderr)

    def write(folder: Path) -> None:
        *others, last = models
        Translator(models[last], job.subwords).save(folder)
        for name in others:
            (folder / name).mkdir()
            Translator(models[name], job.subwords).save(folder / name)
        replace_json(folder / "training.json", {"pairs": len(job.pairs[0]), "measured": figures}, indent=2)

    return replace_folder(config.out, write)


def checked(config: Config) -> Any:
    """The objective after cross-entropy, or None."""
    for name in ("width", "layers", "longest", "rows", "pairs", "teacher_steps", "steps", "tuning_steps"):
        if (value := getattr(config, name)) is not None and value < 1:
            raise RequestError(f"Expected {name} to be at least 1, found {value}.")
    if (config.test_src is None) != (config.test_tgt is None):
        raise RequestError("Expected both --test-src and --test-tgt, or neither.")
    name = plugins.parse(config.objective)[0]
    if name not in OBJECTIVES:
        raise SpecError(f"There is no objective {name!r} for translation.{did_you_mean(name, OBJECTIVES)}")
    return None if config.objective == "xe" else plugins.make("objective", config.objective)


def texts(config: Config) -> tuple[Pairs, Pairs]:
    """Pairs to learn from, and to measure on."""
    pairs = read_pairs(config.src, config.tgt)
    learned, test = split(pairs, HELD) if config.test_src is None else (pairs, read_pairs(config.test_src, config.test_tgt))
    if not len(test):
        raise DataError(f"Expected more pairs than {len(pairs)}: {HELD} % of them are held out. Name others with --test-src.")
    return Pairs(learned.source[: config.pairs], learned.target[: config.pairs]), test


class Job:
    """The stages, each in its own folder of OUT.work."""

    def __init__(self, config: Config, learned: Pairs) -> None:
        self.config, self.learned = config, learned
        free = ("out", "src", "tgt", "test_src", "test_tgt", "pairs", "objective", "tuning_steps", "limit")
        settings = {key: str(value) for key, value in dataclasses.asdict(config).items() if key not in free}
        content = "\n".join(learned.source + learned.target).encode("utf-8", "surrogatepass")
        settings |= {"texts": f"{zlib.crc32(content):08x}"}
        self.work = claim_folder(config.out.with_name(config.out.name + ".work"), settings)
        self.subwords = self._subwords()
        self.pairs = self._encoded()

    def _subwords(self) -> Subwords:
        folder = self.work / "subwords"
        if not folder.exists():
            with waiting("finding subwords"):
                made = Subwords.trained(self.learned.source + self.learned.target, self.config.vocabulary)
            replace_folder(folder, made.save)
        return Subwords.load(folder)

    def _encoded(self) -> Encoded:
        """Ids of the pairs that are short enough."""
        both = zip(self.learned.source, self.learned.target, strict=True)
        ids = [(self.subwords.encode(source), self.subwords.encode(target, source)) for source, target in both]
        kept = [pair for pair in ids if max(map(len, pair)) <= self.config.longest]
        if len(kept) < len(ids):
            log.warning("%d pairs with more than %d tokens were left out", len(ids) - len(kept), self.config.longest)
        if not kept:
            raise DataError(f"Expected pairs of at most {self.config.longest} tokens, found none; raise --longest.")
        return [source for source, _ in kept], [target for _, target in kept]

    def made(self, objective: Any) -> dict[str, Nat | Markov]:
        """The models by name, the one that was asked for last."""
        c = self.config
        if c.model == "markov":
            return {"markov": self._token_by_token("markov", order=c.order, leak_free=c.leak_free)}
        models: dict[str, Nat | Markov] = {}
        pairs = self.pairs
        if c.model == "ar" or not c.raw:
            models["teacher"] = teacher = self._token_by_token("teacher")
        if c.model == "ar":
            return models
        if not c.raw:
            with reporter("distilled", len(pairs[0])) as report:
                pairs = distilled(teacher, pairs, self.work / "distilled", BEAM, report)
        models["xe"] = self._at_once("xe", pairs, None, c.steps)
        if objective is not None:
            name, start = c.objective.partition(":")[0], models["xe"].state_dict()
            models[name] = self._at_once(folder_of(f"{c.objective} {c.tuning_steps}"), pairs, objective, c.tuning_steps, start)
        return models

    def _token_by_token(self, name: str, **options: Any) -> Markov:
        model = self._fresh(Markov, **options)
        gradient = token_by_token(model, self.config.orders if options else (), self.config.smoothing)
        self._trained(name, model, gradient, self.pairs, self.config.teacher_steps, 1.0)
        return model

    def _at_once(self, name: str, pairs: Encoded, objective: Any, steps: int, start: dict[str, Any] | None = None) -> Nat:
        model = self._fresh(Nat)
        if start is not None:
            model.load_state_dict(start)
        gradient = writes_at_once(model, objective, self.config.smoothing)
        self._trained(name, model, gradient, pairs, steps, 1.0 if objective is None else TUNED)
        return model

    def _fresh(self, kind: type, **options: Any) -> Any:
        c = self.config
        torch.manual_seed(c.seed)
        return kind(TranslationConfig(
            vocabulary=len(self.subwords), width=c.width, heads=max(1, c.width // 32), ffn=4 * c.width, layers=c.layers,
            decoder_layers=c.layers, longest=c.longest, dropout=c.dropout, **options,
        ))  # fmt: skip

    def _trained(self, name: str, model: Any, gradient: Gradient, pairs: Encoded, steps: int, rate: float) -> None:
        steps = steps if self.config.limit is None else min(steps, self.config.limit)
        feed: Any = batches(pairs, self.config.rows, self.config.seed)
        loop = Loop(self.work / name, steps, other_lr=rate * RATE)
        loop = dataclasses.replace(loop, matrix_lr=rate * loop.matrix_lr)
        with reporter(name, steps) as report:
            train(model, feed, gradient, loop, report=report)
        model.eval()


def folder_of(objective: str) -> str:
    """Where its checkpoints go: other options, other folder."""
    return "".join(char if char.isalnum() else "-" for char in objective)

