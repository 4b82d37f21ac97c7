"""Trains a translator on parallel texts: a teacher, then a model that writes in one pass what the teacher wrote.

Every stage goes on where it was killed, with the same command, to the same weights: teacher (token by token), what it writes of
the sources (sequence-level distillation), from its weights the one-pass model by masked cross-entropy (CMLM), then by OaXE or
n-gram OaXE.
"""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from paceline import plugins
from paceline.data.parallel import Pairs, read_pairs, split
from paceline.errors import DataError, RequestError, SpecError, did_you_mean
from paceline.files import replace_json
from paceline.models.translation.translator import Translator
from paceline.recipes._translation_stages import begun, check_sides, fades, trained
from paceline.train.checkpoint import check_replaceable, replace_folder
from paceline.train.precision import flush_denormals
from paceline.train.schedule import falling
from paceline.train.translation_metrics import can_score, measured, told

__all__ = ["Config", "run"]

log = logging.getLogger("paceline")

OBJECTIVES = ("xe", "oaxe", "ngram_oaxe")
STAGES = ("teacher_steps", "steps", "tuning_steps")
HELD = 2  # percent of the pairs that are held out where no test texts are given


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
    pairs: int | None = None  # Learn from so many pairs, the first ones; None = all.
    raw: bool = False  # Let the one-pass model learn from the references, not from what the teacher wrote of the sources.
    vocabulary: int = 4000  # Subwords of both languages.
    width: int = 128  # Of the models.
    layers: int = 3  # Of the encoder, and of the decoder.
    longest: int = 80  # Tokens of a sentence; pairs with longer ones are left out.
    dropout: float = 0.1  # While training.
    smoothing: float = 0.1  # Of labels, in cross-entropy.
    rows: int = 128  # Pairs in a step.
    teacher_steps: int = 1800  # Of the model that writes token by token; 0 = none, only with raw.
    steps: int = 1200  # Of the one-pass model by cross-entropy, from the teacher's weights; 0 = none, the objective starts there.
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
    check_replaceable(config.out)
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
    for count in ("width", "layers", "longest", "rows", "vocabulary", "pairs", "seed", *STAGES):
        least, value = 0 if may_be_none(config, count) else 1, getattr(config, count)
        if value is not None and value < least:
            raise RequestError(f"Expected {count} to be at least {least}, found {value}.{way_out(config, count)}")
    if (config.test_src is None) != (config.test_tgt is None):
        raise RequestError("Expected both --test-src and --test-tgt, or neither.")
    if not 0 <= config.smoothing < 1:
        raise RequestError(f"Expected smoothing of at least 0 and below 1, found {config.smoothing}.")
    if config.orders and config.model != "markov":
        raise RequestError(f"Expected --orders with --model markov only, found --model {config.model}.")
    if config.orders and config.order not in config.orders:
        raise RequestError(f"Expected --order, which is translated with, to be one of the --orders "
                           f"{', '.join(map(str, config.orders))}, found {config.order}.")
    if name not in OBJECTIVES:
        raise SpecError(f"There is no objective {name!r} for translation.{did_you_mean(name, OBJECTIVES)}")
    if (config.anneal and name == "xe") or (config.curriculum and name != "ngram_oaxe"):
        raise RequestError("Expected --anneal with --objective oaxe or ngram_oaxe only, and --curriculum with ngram_oaxe only; "
                           f"found {config.objective}.")
    for shape in fades(config).values():
        falling(0, 1, shape)  # an unknown one is refused
    return None if name == "xe" else plugins.make("objective", config.objective)


def may_be_none(config: Config, count: str) -> bool:
    """Whether it may be 0: the seed, cross-entropy where an objective follows, the teacher where nothing needs its texts."""
    if count == "teacher_steps":
        return config.raw and config.model == "nat"
    return count == "seed" or count == "steps" and config.objective != "xe"


def way_out(config: Config, count: str) -> str:
    """How a stage could be left out after all."""
    one_pass = count == "teacher_steps" and config.model == "nat"
    return " A one-pass model can learn without a teacher, from the texts alone: add --raw." if one_pass else ""


def texts(config: Config) -> tuple[Pairs, Pairs]:
    """Pairs to learn from, and to measure on."""
    pairs = read_pairs(config.src, config.tgt)
    learned, test = split(pairs, HELD) if config.test_src is None else (pairs, read_pairs(config.test_src, config.test_tgt))
    if not len(test):
        raise DataError(f"Expected more pairs than {len(pairs)}: {HELD} % of them are held out. Name others with --test-src.")
    return Pairs(learned.source[: config.pairs], learned.target[: config.pairs]), test
