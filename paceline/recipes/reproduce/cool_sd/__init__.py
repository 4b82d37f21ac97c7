"""COOL-SD (arXiv 2601.09212): annealed relaxed drafts for images, against exact drafts, other schedules and neighbourhoods.

The models of `paceline cook images` draw digits, 64 grey levels each. Every arm draws the same classes with the same seeds:
tokens for each forward of the target (the bonus token counts), the total variation it spent for an image, Fréchet distance to
the target's own images in the features of a classifier, how often that classifier sees the asked digit, the target's nats on
what was drawn; then the wall clock of one image at a time, with the target grown too. Null levels: the target's own
images, two sets of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from paceline.bench.report import interval
from paceline.data.digits import CLASSES, PIXELS, Images, load_digits, made_up
from paceline.engine import Engine
from paceline.errors import DataError, RequestError
from paceline.lm import LM, load
from paceline.lm.grow import grow
from paceline.recipes.images import TOGETHER, asked, laid_out, pixels
from paceline.recipes.reproduce._record import Mean, mean_of, once, picture, rendered, write_record
from paceline.recipes.reproduce.cool_sd._image_speed import ARMS, speeds
from paceline.recipes.reproduce.cool_sd._images import Judge, frechet
from paceline.rules.annealed import Annealed, Schedule
from paceline.rules.neighbour import Neighbour
from paceline.train.checkpoint import claim_folder

__all__ = ["Config", "run"]

SCHEDULES: tuple[Schedule, ...] = ("uniform", "linear", "printed", "clamped", "reversed", "first")
DELTAS = (1.1, 1.5, 2.0)
LENGTHS = (2, 3, 4, 6, 8)
LENGTH = 5
GROWN, TIMED = 100e6, 30  # parameters of the grown target; images of which the time is taken
MORE = (0.1, 0.3, 0.5)  # tokens for each forward, over exact drafts, at which schedules are compared
WIDE = "fixed:budget=16,together=100000"  # as many nodes as the drafter likes, however many rows there are
FIGURES = ("acceptance_length", "spent", "distance", "accuracy", "nats", "forwards")


@dataclass(frozen=True)
class Config:
    """Options of the run."""

    digits: Path = Path("digits")  # The folder that `paceline cook images` has filled.
    out: Path = Path("benchmarks/reproduce")  # Receives cool_sd.json, .md and .png.
    work: Path = Path("cool_sd")  # Keeps what every arm did, so that a run that was killed goes on.
    images: int = 2000  # Drawn by every arm for every seed.
    seeds: int = 3
    guidance: float = 1.0  # Scale of classifier-free guidance; other than 1 doubles the cost.
    fast: bool = False  # A few images of a few arms, judged by made-up ones, to see that all works.


@dataclass(frozen=True)
class Arm:
    """How to draw: which rule, and how many tokens ahead; 0 = plainly."""

    rule: Any = "lossless"
    length: int = LENGTH


def run(config: Config) -> Path:
    """Draw, judge and write the record; returns the page's path. Raises DataError where there are no models."""
    if config.images < CLASSES or config.seeds < 1:
        raise RequestError(f"Expected images of at least {CLASSES} and seeds of at least 1, found {config.images} and "
                           f"{config.seeds}.")
    if not (config.digits / "draft").exists():
        raise DataError(f"There are no models in {config.digits}: run paceline cook images --out {config.digits} first.")
    learned, held = (made_up() if config.fast else load_digits()).split()
    claim_folder(config.work, {"images": config.images, "guidance": config.guidance, "digits": str(config.digits)})
    judge = Judge(learned, steps=50 if config.fast else 1500)
    lm = load(str(config.digits / "target"), dtype="fp32")
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in ["target again", *arms(config)]}
    for seed in range(config.seeds):
        own = drawn(config, lm, Arm(length=0), 1000 + seed)[0]
        for name, arm in [("target again", Arm(length=0)), *arms(config).items()]:
            path = config.work / f"{name.replace(',', '').replace(' ', '_')}-{seed}.json"
            runs[name].append(once(path, partial(figures, config, lm, judge, arm, seed, own)))
    speed = {size: once(config.work / f"speed-{size}.json", partial(timed, config, lm, size)) for size in ("as trained", "grown")}
    found = {"speed": speed, "images": config.images, "seeds": config.seeds, "guidance": config.guidance, "runs": runs,
             "judge": judge.accuracy(held), "tv": apart(config, held)}
    page = config.out / "cool_sd.md"
    write_record(config.out, "cool_sd", found, written_up(found))
    picture(page.with_suffix(".png"), partial(draw, found), 2)
    return page


def timed(config: Config, lm: LM, size: str) -> dict[str, dict[str, float]]:
    """Speeds of drawing one image at a time, with the target as it is or grown: the same function at a realistic cost."""
    if size == "grown":
        lm = LM(grow(lm.model, 1e6 if config.fast else GROWN))
    return speeds(lm, config.digits / "draft", 2 if config.fast else TIMED)


def arms(config: Config) -> dict[str, Arm]:
    """Name -> arm; the schedules at every delta."""
    if config.fast:
        return {"exact": Arm(), "clamped 1.5": Arm(Annealed(1.5)), "uniform 1.5": Arm(Annealed(1.5, schedule="uniform"))}
    found = {"exact": Arm()} | {f"exact, L = {length}": Arm(length=length) for length in LENGTHS}
    for schedule in SCHEDULES:
        found |= {f"{schedule} {delta:g}": Arm(Annealed(delta, schedule=schedule, length=LENGTH)) for delta in DELTAS}
    found |= {f"clamped 2, at most {budget:g}": Arm(Annealed(2.0, tv_budget=budget)) for budget in (0.5, 2.0)}
    found |= {f"neighbour {delta:g}, {how}": Arm(Neighbour(2, delta, resample=how)) for delta in (0.1, 0.3)
              for how in ("lantern", "best")}
    return found


def drawn(config: Config, lm: LM, arm: Arm, seed: int) -> tuple[Images, list[Any]]:
    """Images of all classes, and their generations."""
    drafter = f"small_model:model={config.digits / 'draft'},length={arm.length},worth=0" if arm.length else "none"
    engine = Engine(lm, drafter, arm.rule, WIDE, slots=TOGETHER)
    count = 2 * CLASSES if config.fast else config.images
    classes = [i % CLASSES for i in range(count)]
    out = engine.run(asked(classes, config.guidance, seed))
    return Images(pixels(out).reshape(count, PIXELS), np.array(classes)), out


def figures(config: Config, lm: LM, judge: Judge, arm: Arm, seed: int, own: Images) -> dict[str, float]:
    """What an arm did with a seed. `forwards`: of the target, for an image, both branches counted."""
    images, out = drawn(config, lm, arm, seed)
    rounds, n = sum(g.stats.rounds for g in out), len(out)
    return {
        "acceptance_length": sum(g.stats.new_tokens for g in out) / rounds, "spent": sum(g.stats.spent for g in out) / n,
        "distance": frechet(judge.features(images), judge.features(own)), "accuracy": judge.accuracy(images),
        "nats": float(losses(lm.model, images).mean()),
        "forwards": rounds / n * (1 if config.guidance == 1.0 else 2),
    }  # fmt: skip


@torch.inference_mode()
def losses(model: Any, images: Images) -> torch.Tensor:
    """The target's nats per pixel [N] on images, without guidance."""
    rows = laid_out(images)
    logits = torch.cat([model(part).logits for part in rows.tokens.split(200)])
    return torch.nn.functional.cross_entropy(logits.transpose(1, 2), rows.labels, reduction="none").mean(1)


@torch.inference_mode()
def apart(config: Config, images: Images) -> float:
    """Mean total variation between the laws of target and draft, a pixel of real images."""
    laws = [load(str(config.digits / name), dtype="fp32").model(laid_out(images).tokens).logits.softmax(-1)
            for name in ("target", "draft")]
    return float((laws[0] - laws[1]).abs().sum(-1).mean() / 2)


# -- the page ---------------------------------------------------------------------------------------------------------------


def means(found: dict[str, Any], name: str) -> dict[str, Mean]:
    """Figure -> its mean over seeds."""
    return {figure: mean_of([run[figure] for run in found["runs"][name]]) for figure in FIGURES}


def line(found: dict[str, Any], name: str) -> list[str]:
    m = means(found, name)
    return [name, f"{m['acceptance_length']:.3f} ± {m['acceptance_length'].bar:.3f}", f"{m['spent']:.2f} ± {m['spent'].bar:.2f}",
            f"{m['distance']:.3f} ± {m['distance'].bar:.3f}", f"{100 * m['accuracy']:.1f} ± {100 * m['accuracy'].bar:.1f} %",
            f"{m['nats']:.3f}", f"{m['forwards']:.1f}"]


def timed_line(found: dict[str, Any], name: str) -> list[str]:
    runs = [part[name] for part in found["speed"].values()]
    return [name, f"{runs[0]['acceptance_length']:.2f}", f"{runs[0]['spent']:.2f}",
            *map(interval, runs)]


def spent_at(found: dict[str, Any], schedule: str, more: float) -> str:
    """What a schedule spends where it writes so many more tokens for each forward than exact drafts: on the line through its
    deltas, from exact drafts on where all of them are longer. A dash where it does not get there.
    """
    exact = found["runs"]["exact"]
    names = [name for name in found["runs"] if name.split()[0] == schedule and "most" not in name]
    values = []
    for seed, own in enumerate(exact):
        points = [found["runs"][name][seed] for name in names]
        longer = all(p["acceptance_length"] > own["acceptance_length"] for p in points)
        line = sorted((p["acceptance_length"], p["spent"]) for p in ([own, *points] if longer else points))
        wanted = own["acceptance_length"] + more
        if not line[0][0] <= wanted <= line[-1][0]:
            return "–"
        values.append(float(np.interp(wanted, [length for length, _ in line], [spent for _, spent in line])))
    return str(mean_of(values))


def written_up(found: dict[str, Any]) -> str:
    """The page: the table, the order of the schedules, and the paper's figures."""
    equal = [[schedule, *(spent_at(found, schedule, more) for more in MORE)] for schedule in SCHEDULES
             if any(name.split()[0] == schedule for name in found["runs"])]
    return rendered(__file__, found=found, arms=[line(found, name) for name in found["runs"]], equal=equal,
                    more=[f"+{more:g}" for more in MORE], timed=[timed_line(found, name) for name in ARMS], together=TOGETHER,
                    length=LENGTH, timed_images=TIMED, grown=GROWN)


def draw(found: dict[str, Any], axes: Any) -> None:
    """What each family of arms pays for its tokens: spent, and distance."""
    families = {name.split()[0].rstrip(",") for name in found["runs"]} - {"target", "exact"}
    exact, null = means(found, "exact"), means(found, "target again")
    for axis, figure in zip(axes, ("spent", "distance"), strict=True):
        for family in sorted(families):
            points = [means(found, name) for name in found["runs"] if name.split()[0] == family and "most" not in name]
            if family != "neighbour":
                points = [exact, *points]
            axis.plot([p["acceptance_length"] for p in points], [p[figure] for p in points],
                      marker="o", linestyle="" if family == "neighbour" else "-", label=family)
        axis.set(xlabel="tokens for each forward of the target", ylabel=f"{figure}, an image" if figure == "spent" else figure)
    axes[1].axhline(null["distance"], color="grey", linestyle=":", label="target again")
    axes[1].legend(fontsize=7)
