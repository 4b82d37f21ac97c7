"""The page and the picture of what was found."""

from __future__ import annotations

import math
from typing import Any

from paceline.recipes.reproduce._record import Mean, mean_of, rendered
from paceline.recipes.reproduce.lighttransfer_train._arms import CUT
from paceline.recipes.reproduce.lighttransfer_train._texts import WORDS

__all__ = ["draw", "written_up"]

TASKS = ("needles", "copy", "sums")
ARMS = ("lazy", "threshold", "oracle", "random", "ends", "reversed")
FIGURES = {"hit": "words, %", "right": "scratchpads, %", "nats": "nats a token"}


def written_up(found: dict[str, Any]) -> str:
    """Tables beside the paper's figures."""
    first = found["layers"][0]
    layers = [[i, f"{first['kept'][i]:.2f}", f"{first['sinks'][i]:.2f}", f"{lost:.3f}"] for i, lost in enumerate(first["lost"])]
    rows = {keep: [["all layers full", *cells(found, "full")], ["all streaming", *cells(found, "streaming")],
                   *([arm, *cells(found, f"{arm} {keep}")] for arm in ARMS)] for keep in found["keeps"]}
    return rendered(__file__, found=found, config=found["config"], cut=CUT, words=len(WORDS), layers=layers, rows=rows,
                    heads=[*(f"{task}, %" for task in TASKS), "mean, %", "below full", "text, nats"],
                    figures=list(FIGURES.values()), tuned=tuned_rows(found), gaps=gap_rows(found))


def hits(found: dict[str, Any], arm: str, task: str = "") -> list[float]:
    """Of each seed, the percent of a task's words that are hit; without a task, the mean of all."""
    return [sum(seed[name][arm]["hit"] for name in ([task] if task else TASKS)) / (1 if task else len(TASKS))
            for seed in found["cut"]]


def cells(found: dict[str, Any], arm: str) -> list[Any]:
    below = [full - own for full, own in zip(hits(found, "full"), hits(found, arm), strict=True)]
    return [*(one(mean_of(hits(found, arm, task))) for task in (*TASKS, "")), one(mean_of(below)),
            fine(mean_of([seed["text"][arm]["nats"] for seed in found["cut"]]))]


def one(mean: Mean, digits: int = 1) -> str:
    """With one decimal; of a single seed without an interval."""
    return f"{float(mean):.{digits}f}" + ("" if math.isnan(mean.half) else f" ± {mean.half:.{digits}f}")


def fine(mean: Mean) -> str:
    return one(mean, 3)


def tuned_rows(found: dict[str, Any]) -> list[list[str]]:
    """What each model knows before and after its short training."""
    return [[f"{who}, {when}", *((fine if name == "nats" else one)(mean_of([seed[who][when][name] for seed in found["tuned"]]))
                                 for name in FIGURES)] for who in found["tuned"][0] for when in ("before", "after")]


def gap(found: dict[str, Any], who: str, when: str, name: str, against: str) -> Mean:
    """What a hybrid lacks of the whole model, in seeds' pairs."""
    sign = -1 if name == "nats" else 1
    return mean_of([sign * (seed["whole"][against][name] - seed[who][when][name]) for seed in found["tuned"]])


def gap_rows(found: dict[str, Any]) -> list[list[str]]:
    cases = {"at test time": ("before", "before"), "trained, to the whole model": ("after", "before"),
             "trained, to the whole model trained as long": ("after", "after")}
    return [[f"{who}, {case}", *((fine if name == "nats" else one)(gap(found, who, when, name, against)) for name in FIGURES)]
            for who in found["tuned"][0] if who != "whole" for case, (when, against) in cases.items()]


def draw(found: dict[str, Any], axes: Any) -> None:
    """Lazy ratios by layer; the mean of the tasks by layers kept; the loss on scratchpads before and after the short training."""
    layers = found["layers"][0]
    axes[0].bar(range(len(layers["kept"])), layers["kept"], label=f"{CUT.sinks} first and {CUT.recent} last keys")
    axes[0].bar(range(len(layers["sinks"])), layers["sinks"], label="the first ones")
    axes[0].set(xlabel="layer", ylabel="share of attention", ylim=(0, 1))
    axes[0].legend(fontsize=7, loc="lower right")
    for arm in ARMS:
        means = [mean_of(hits(found, f"{arm} {keep}")) for keep in found["keeps"]]
        axes[1].errorbar(found["keeps"], means, [m.bar for m in means], marker="o", markersize=3, capsize=2, label=arm)
    for arm in ("full", "streaming"):
        axes[1].axhline(mean_of(hits(found, arm)), color="grey", linewidth=0.8, linestyle="-" if arm == "full" else ":")
    axes[1].set(xlabel="share of layers that keep all keys", ylabel="words right, %, mean of tasks")
    axes[1].set_xticks(found["keeps"])
    axes[1].legend(fontsize=7)
    for place, when in enumerate(("before", "after")):
        means = [mean_of([seed[who][when]["nats"] for seed in found["tuned"]]) for who in found["tuned"][0]]
        axes[2].bar([i + 0.4 * place for i in range(len(means))], means, 0.38, yerr=[m.bar for m in means], capsize=2, label=when)
    axes[2].set_xticks([i + 0.2 for i in range(len(found["tuned"][0]))], list(found["tuned"][0]))
    axes[2].set(ylabel="scratchpads, nats a token")
    axes[2].legend(fontsize=7, title="training")
