"""LightTransfer's record as a page and a picture; no figure is made here."""

from __future__ import annotations

from typing import Any

from paceline.bench.report import interval
from paceline.recipes.reproduce._record import bars, rendered
from paceline.recipes.reproduce.lighttransfer._arms import BEHIND, FULL, LAST, OURS

__all__ = ["draw", "written_up"]

MIB = 2**20
SHOWN = (OURS, "random", "streaming all")  # whose answers are told by kind


def written_up(found: dict[str, Any]) -> str:
    """Tables beside the paper's figures."""
    tasks = found["tasks"]
    units = ("points", "nats")
    return rendered(__file__, found=found, model=found["model"]["model"], behind=BEHIND, last=LAST, tasks=tasks,
                    heads=[head(one) for one in tasks], arms={unit: arm_rows(tasks, unit) for unit in units},
                    ours={unit: against_rows(tasks, unit) for unit in units}, told=[told_line(one) for one in tasks],
                    kinds=list(tasks[0]["arms"][FULL]["kinds"]), by_kind=kind_rows(tasks),
                    layers=[layer_line(one) for one in tasks], memory=memory_rows(found["memory"]),
                    rates=rate_rows(found["throughput"]), drafts={"default activations": draft_rows(found["lossless"])} | (
                        {"float activations": draft_rows(found["lossless_float"])} if found["lossless_float"] else {}))


def head(one: dict[str, Any]) -> str:
    return f"{one['tokens']:,} tokens, {one['recent']:,} recent"


def arm_rows(tasks: list[dict[str, Any]], unit: str) -> list[list[str]]:
    """Of each arm what it gains or loses, and beneath what that is a difference from."""
    digits, own = (1, "full") if unit == "points" else (3, "full nats")
    named = {f"{arm}: {tasks[-1]['arms'][arm]['cut']:.0f}": [one["arms"][arm][unit] for one in tasks]
             for arm in tasks[0]["arms"] if arm != FULL}
    named[f"{FULL}, itself"] = [one[own] for one in tasks]
    if unit == "points":
        named["null: another question's answer"] = [one["null"] for one in tasks]
    return [[name, *(interval(each, digits, "") for each in figures)] for name, figures in named.items()]


def against_rows(tasks: list[dict[str, Any]], unit: str) -> list[list[str]]:
    """Ours less each control."""
    digits = 1 if unit == "points" else 3
    return [[arm, *(interval(one["ours"][arm][unit], digits, "") for one in tasks)] for arm in tasks[0]["ours"]]


def kind_rows(tasks: list[dict[str, Any]]) -> list[list[str]]:
    return [[f"{head(one)}: {arm}", *(f"{value:.0f}" for value in one["arms"][arm]["kinds"].values())]
            for one in tasks for arm in (FULL, *SHOWN)]


def layer_line(one: dict[str, Any]) -> str:
    """Which layers are cut always, and which at times."""
    always = [layer for layer, share in one["layers"].items() if share == 1]
    times = [f"{layer} ({share:.0%})" for layer, share in one["layers"].items() if share < 1]
    return f"{head(one)}: always {', '.join(map(str, always)) or 'none'}; at times {', '.join(times) or 'none'}"


def told_line(one: dict[str, Any]) -> str:
    """From which controls the intervals tell ours, and to which side."""
    better = [arm for arm, figures in one["ours"].items() if figures["points"]["low"] > 0]
    worse = [arm for arm, figures in one["ours"].items() if figures["points"]["high"] < 0]
    said = [f"{word} than {', '.join(arms)}" for word, arms in (("better", better), ("worse", worse)) if arms]
    return f"{head(one)}: {' and '.join(said) or 'told from none of the controls'}"


def memory_rows(memory: dict[str, Any]) -> list[list[str]]:
    """MiB."""
    kinds = ("formula", "held", "allocated")
    return [[f"{int(tokens):,}", *(f"{each[arm][kind] / MIB:.1f}" for arm in (FULL, OURS) for kind in kinds),
             *(f"{each[FULL][kind] / each[OURS][kind]:.2f}" for kind in kinds)]
            for tokens, each in memory.items()]


def rate_rows(budgets: dict[str, Any]) -> list[list[str]]:
    return [[f"{int(budget) >> 20:,} MiB" if int(budget) else "one row", *(cell for arm in (FULL, OURS) for cell in (
             str(each[arm]["rows"]), f"{each[arm]['bytes'] / MIB:.0f}", f"{each[arm]['rate']:.1f}")), interval(each["faster"])]
            for budget, each in budgets.items()]


def draft_rows(found: dict[str, Any]) -> list[list[str]]:
    return [[name, f"{each['accepted']:.0%}", f"{each['acceptance_length']:.2f}", interval(each["speedup"])]
            for name, each in found["drafts"].items()]


def draw(found: dict[str, Any], axes: Any) -> None:
    """What each arm scores less than the whole model, and what its text's ends lose."""
    tasks = found["tasks"]
    names = [arm for arm in tasks[0]["arms"] if arm != FULL]
    for place, one in enumerate(tasks):
        for axis, unit in zip(axes, ("points", "nats"), strict=True):
            figures = [one["arms"][arm][unit] for arm in names]
            at = [i + 0.15 * (place - (len(tasks) - 1) / 2) for i in range(len(names))]
            axis.errorbar([figure["value"] for figure in figures], at, xerr=bars(figures), fmt="o", markersize=3, capsize=2,
                          label=head(one))
    for axis, label in zip(axes, ("points from the whole model", "nats above the whole model"), strict=True):
        axis.axvline(0.0, color="grey", linewidth=0.8)
        axis.set_yticks(range(len(names)), names, fontsize=7)
        axis.invert_yaxis()
        axis.set_xlabel(label)
    axes[1].legend(fontsize=6)
