"""BanditSpec's record as a page and a picture; no figure is made here."""

from __future__ import annotations

from typing import Any

from paceline.bench.report import interval
from paceline.recipes.reproduce._record import rendered
from paceline.recipes.reproduce.banditspec._batch_sizes import CHANCE, KNEE, LENGTHS, STEP

__all__ = ["NAMES", "REFERENCE", "WINDOW", "draw", "written_up"]

NAMES = {"uniform": "uniform", "ucb": "UCBSpec", "quarter": "UCBSpec, scale 0.25", "exp3": "EXP3Spec",
         "released": "released rule"}  # fmt: skip
COLORS = {"uniform": "darkgray", "ucb": "teal", "quarter": "mediumseagreen", "exp3": "darkorange", "released": "firebrick"}
FOLLOWING = ("teal", "mediumseagreen", "mediumorchid", "slategray", "darkorange")
# Rounds lost in an independent simulation of the paper's two algorithms.
REFERENCE: dict[str, dict[str, dict[int, float]]] = {
    "four": {"ucb": {512: 23.0, 2048: 52.2, 8192: 93.5, 32768: 134.0},
             "exp3": {512: 26.5, 2048: 62.6, 8192: 106.0, 32768: 147.0}},
    "deep": {"ucb": {512: 29.4, 8192: 81.0}, "exp3": {512: 39.5, 8192: 111.0}},
}  # fmt: skip
TITLES = {"four": "chances .5 .6 .7 .8, drafts of 4", "deep": "chances .3 .5 .6 .85, drafts of 8"}
WINDOW = 20  # rounds over which an arm's share is taken


def regret_rows(found: dict[str, Any], name: str) -> list[list[Any]]:
    """Policies down, lengths of the text across."""
    marks = marks_of(found, name)
    rows: list[list[Any]] = [[NAMES[policy], *(f"{f['lost']:.1f} ± {f['error']:.1f}" for f in by_mark.values())]
                             for policy, by_mark in found["regret"][name].items()]
    return rows + [[f"{NAMES[policy]}, reference", *(values.get(mark, "") for mark in marks)]
                   for policy, values in REFERENCE[name].items()]


def marks_of(found: dict[str, Any], name: str) -> list[int]:
    """Lengths of the text."""
    return [int(mark) for mark in found["regret"][name]["ucb"]]


def check_lines(found: dict[str, Any]) -> str:
    """Agreement with the reference, growth, and the identity."""
    compared, growth = found["checks"]["compared"], found["checks"]["growth"]
    missed = [f"{NAMES[c['policy']]} at {c['tokens']:,} tokens, {TITLES[c['arms']]}: {c['ratio']:.2f} of it"
              for c in compared if not c["holds"]]
    met = f"{len(compared) - len(missed)} of {len(compared)} reference values are met within 10 % or three standard errors"
    lines = [f"{met}. Not: {'; '.join(missed)}." if missed else f"{met}."]
    if growth:
        each = ", ".join(f"{NAMES[policy]} {ratio:.1f}x" for policy, ratio in growth.items())
        lines.append(f"Growth of rounds lost from 2,048 to 32,768 tokens, where 16x is linear: {each}.")
    apart = max(f["apart"] for by_policy in found["regret"].values() for by_mark in by_policy.values() for f in by_mark.values())
    lines.append(f"By the paper's identity (gap over best mean, times pulls) they are the same: at most {apart:.1f} standard "
                 "errors of their difference apart.")
    return "\n".join(lines)


def switch_rows(found: dict[str, Any]) -> list[list[str]]:
    """How soon and at what price each controller follows."""
    return [[name, f"{f['back']:.0f} ({f['within'][0]:.0f} to {f['within'][1]:.0f})", f"{f['lost']:.0f} ± {f['lost_error']:.0f}"]
            for name, f in found["switch"].items()]


def written_up(found: dict[str, Any]) -> str:
    """The page."""
    batches, decoding, arms = found["batches"], found["decoding"], ("four", "deep")
    return rendered(__file__, found=found, titles=TITLES, window=WINDOW, checks=check_lines(found), switch=switch_rows(found),
                    marks={name: [f"{mark:,}" for mark in marks_of(found, name)] for name in arms},
                    regret={name: regret_rows(found, name) for name in arms},
                    took=", ".join(f"{NAMES[name]} {each:.1f}" for name, each in found["microseconds"].items()),
                    half=len(found["switch"]["EXP3Spec"]["share"]) * WINDOW // 2, longest=LENGTHS[-1], chance=CHANCE, knee=KNEE,
                    step=STEP, batches=batch_rows(batches), controllers=list(next(iter(batches.values()))["reached"]),
                    decoding=decoding, parts=list(decoding["methods"]["plain"]["length"])[1:],
                    methods=decoding_rows(decoding["methods"]))


def batch_rows(batches: dict[Any, Any]) -> list[list[Any]]:
    """Draft lengths as arms, by the size of the batch."""
    return [[size, f["best"], f"{max(f['speeds']):.2f}x", f"{f['speeds'][-1]:.2f}x",
             *(f"{reached['mean']:.3f} ± {reached['error']:.3f}" for reached in f["reached"].values())]
            for size, f in batches.items()]


def decoding_rows(methods: dict[str, Any]) -> list[list[Any]]:
    """Drafters as arms on the real target."""
    return [[name, interval(f["length"]["all"], unit=""),
             *(f"{length['value']:.2f}" for part, length in f["length"].items() if part != "all"),
             interval(f["speed"]["all"], unit="")] for name, f in methods.items()]


def draw(found: dict[str, Any], axes: Any) -> None:
    """Rounds lost by length of the text for both sets of arms, and the share of the best arm over time."""
    for axis, name in zip(axes, TITLES, strict=False):
        draw_regret(found["regret"][name], name, axis)
    for (name, f), color in zip(found["switch"].items(), FOLLOWING, strict=True):
        rounds = [WINDOW * (i + 0.5) for i in range(len(f["share"]))]
        axes[2].plot(rounds, f["share"], label=name, linewidth=1.2, color=color)
    axes[2].axvline(WINDOW * len(f["share"]) / 2, color="gray", linestyle=":")
    axes[2].set(xlabel="round (change at the dotted line)", ylabel="share of rounds with the best arm", ylim=(0, 1.02))
    axes[2].set_title("the best arm changes", fontsize=10)
    axes[2].legend(fontsize=7, loc="lower left", bbox_to_anchor=(0.06, 0.03))


def draw_regret(regret: dict[str, Any], name: str, axis: Any) -> None:
    """One line a policy, with standard errors; the reference as crosses."""
    for policy, by_mark in regret.items():
        marks, lost, errors = [int(m) for m in by_mark], *([f[key] for f in by_mark.values()] for key in ("lost", "error"))
        axis.errorbar(marks, lost, errors, marker="o", markersize=3, capsize=2, label=NAMES[policy], color=COLORS[policy])
    for policy, values in REFERENCE[name].items():
        label = "reference" if policy == "ucb" else None
        axis.plot(list(values), list(values.values()), "x", color="black", zorder=5, label=label)
    axis.set(yscale="log", xlabel="tokens of the text", ylabel="rounds lost against the best arm")
    axis.set_xscale("log", base=2)
    axis.set_xticks(marks, [f"{mark:,}" for mark in marks], fontsize=8)
    axis.set_title(TITLES[name], fontsize=10)
    axis.legend(fontsize=7, loc="upper left")
