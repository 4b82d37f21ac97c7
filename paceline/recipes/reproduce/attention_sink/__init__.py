"""When attention sinks emerge (arXiv 2410.10781): small models trained here, with what the paper varied, beside its table.

A 1.3 M model reads Python's standard library, 2,048 tokens a step. Each setting changes one thing: the optimiser, how much text,
what stands first, who sees whom, an extra key or value, how scores become weights. Told for every setting: the share of heads
whose first key gets more than 0.3 of the attention (T = 64), its mean attention, the held-out loss; and how both emerge along the
steps. Null levels: the same figures before the first step, and uniform attention's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from paceline.data.read import stdlib
from paceline.errors import RequestError
from paceline.lm.load import load
from paceline.lm.memory import keep_memory
from paceline.models.small_lm import Shape
from paceline.recipes.reproduce._record import Mean, mean_of, once, picture, rendered, write_record
from paceline.recipes.reproduce.attention_sink._runs import Setting, Sizes, trained
from paceline.train.checkpoint import claim_folder
from paceline.train.precision import flush_denormals

__all__ = ["Config", "SETTINGS", "run"]

# Name: (setting, the paper's figures). Rates, decays and lengths are this size's own.
SETTINGS: dict[str, tuple[Setting, str]] = {
    "default": (Setting(), "18.18, loss 3.73"),
    "rate x 2": (Setting(lr=4e-3), "32.23"),
    "rate / 4": (Setting(lr=5e-4), "2.90"),
    "rate / 4, twice the steps": (Setting(lr=5e-4, steps=2.0), "lr / 4 with 4 x the steps: 6.29"),
    "decay 0": (Setting(decay=0.0), "15.20"),
    "decay 0.5": (Setting(decay=0.5), "41.08"),
    "decay 5": (Setting(decay=5.0), "0.01, loss 5.24"),
    "50,000 tokens of text": (Setting(unique=50_000), "1 % of its tokens: below 1"),
    "500,000 tokens of text": (Setting(unique=500_000), "–"),
    "random first token": (Setting(how="random", places=(0,)), "27.03"),
    "random first and second": (Setting(how="random", places=(0, 1)), "first 1.98, second 14.08"),
    "fixed token first": (Setting(how="fixed", places=(0,)), "74.11"),
    "fixed token second": (Setting(how="fixed", places=(1,)), "second 69.03"),
    "prefix of 3": (Setting({"prefix": 3}), "on one of the first 3"),
    "window of 16": (Setting({"window": 16}), "none for small windows"),
    "key bias": (Setting({"bias": "k"}), "extra key 73.34, first 0.00, same loss"),
    "key and value bias": (Setting({"bias": "kv"}), "extra key 72.76, first 0.04"),
    "value bias": (Setting({"bias": "v"}), "17.53"),
    "sigmoid": (Setting({"weights": "sigmoid"}), "0.44, loss 3.70"),
    "sigmoid, normalised": (Setting({"weights": "normalised_sigmoid"}), "30.24, loss 3.74"),
    "elu + 1": (Setting({"weights": "elu"}), "0.80"),
    "elu + 1, normalised": (Setting({"weights": "normalised_elu"}), "53.65, loss 4.19"),
    "bare product": (Setting({"weights": "linear"}), "0.00, loss 3.99"),
}
FAST = Sizes(Shape(width=32, layers=2, heads=2, ffn=64), steps=16, rows=2, length=64, held=4)


@dataclass(frozen=True)
class Config:
    """Options of the run."""

    out: Path = Path("benchmarks/reproduce")  # Receives attention_sink.json, .md and .png.
    work: Path = Path("attention_sink")  # Keeps every run's figures and weights, so that a run that was killed goes on.
    steps: int = 1500  # Of a run, 2,048 tokens each.
    seeds: int = 3
    fast: bool = False  # Tiny models and a few steps of three settings, to see that all works.


def run(config: Config) -> Path:
    """Train what is missing and write the record; returns the page's path."""
    if min(config.steps, config.seeds) < 1:
        raise RequestError(f"Expected steps and seeds of at least 1, found {config.steps} and {config.seeds}.")
    flush_denormals()
    keep_memory()
    claim_folder(config.work, {"steps": config.steps, "fast": config.fast})
    sizes = FAST if config.fast else replace(Sizes(), steps=config.steps)
    names = ["default", "key bias", "sigmoid"] if config.fast else list(SETTINGS)
    texts, runs = tokens(), {name: [] for name in names}
    for seed in range(config.seeds):  # every setting once before any twice
        for name in names:
            where = config.work / f"{name.replace(' ', '_').replace('/', 'by').replace(',', '')}-{seed}"
            work = partial(trained, SETTINGS[name][0], sizes, seed, texts, where.with_suffix(".safetensors"))
            runs[name].append(once(where.with_suffix(".json"), work))
    found = {"steps": sizes.steps, "seeds": config.seeds, "runs": runs}
    write_record(config.out, "attention_sink", found, written_up(found))
    page = config.out / "attention_sink.md"
    picture(page.with_suffix(".png"), partial(draw, runs), 2)
    return page


def tokens() -> tuple[np.ndarray, np.ndarray]:
    """Python's standard library as the embedded model reads it, file behind file: to learn from, and held out."""
    tokenizer = load("zoo:tiny").tokenizer
    end = [tokenizer.eos_token_id]
    learned, held = (np.concatenate([ids + end for ids in tokenizer(stdlib(measure))["input_ids"]]) for measure in (False, True))
    return learned, held


def key(place: int) -> Callable[[dict[str, Any], str], float]:
    """A figure of one of the first keys, 1 = the first token, in percent."""
    return lambda look, name: 100 * look[name][place - 1 + look["extra"]]


def written_up(found: dict[str, Any]) -> str:
    """The page."""
    lines = [[name, *map(str, line(found["runs"][name])), SETTINGS[name][1]] for name in found["runs"]]
    begun = found["runs"]["default"]
    null = {"sink": mean_of([key(1)(run["history"][0], "sink") for run in begun]),
            "mean": mean_of([key(1)(run["history"][0], "mean") for run in begun])}
    return rendered(__file__, found=found, lines=lines, null=null, emerged=[emerged(run["history"]) for run in begun])


def line(runs: list[dict[str, Any]]) -> list[Mean | str]:
    """Loss, then of the first, the second and the extra key the share of heads that sink on it; and further figures of the first."""
    last = [run["history"][-1] for run in runs]
    extra = mean_of([100 * look["sink"][0] for look in last]) if last[0]["extra"] else "–"
    shares = [mean_of([key(place)(look, "sink") for look in last]) for place in (1, 2)]
    mean, chance = (mean_of([key(1)(look, name) for look in last]) for name in ("mean", "random"))
    return [mean_of([look["loss"] for look in last]), *shares, extra, mean, mean_of([100 * look["strongest"] for look in last]), chance]


def emerged(history: list[dict[str, Any]]) -> int | None:
    """The first step looked at where a twentieth of the heads sink on the first key; None where that never was."""
    return next((look["step"] for look in history if key(1)(look, "sink") >= 5), None)


def draw(runs: dict[str, list[dict[str, Any]]], axes: Any) -> None:
    """How the first key's mean attention emerges, and the share of heads that sink on it at the end."""
    for name in (n for n in ("default", "rate / 4", "50,000 tokens of text", "key bias", "sigmoid") if n in runs):
        looks = [run["history"] for run in runs[name]]
        axes[0].plot([look["step"] for look in looks[0]],
                     [mean_of([key(1)(look, "mean") for look in at]) for at in zip(*looks, strict=True)], label=name)
    axes[0].set(xlabel="step", ylabel="mean attention on the first token, %")
    axes[0].legend(fontsize=7)
    ends = {name: mean_of([key(1)(run["history"][-1], "sink") for run in many]) for name, many in runs.items()}
    axes[1].barh(list(ends), list(ends.values()), xerr=[mean.bar for mean in ends.values()])
    axes[1].invert_yaxis()
    axes[1].tick_params(axis="y", labelsize=6)
    axes[1].set(xlabel="heads that sink on the first token, %")
