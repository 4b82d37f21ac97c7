"""BanditSpec's record as a page and a picture; no figure is made here."""

from __future__ import annotations

from typing import Any

from paceline.bench.report import interval
from paceline.recipes.reproduce._record import table
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


def regret_table(found: dict[str, Any], name: str) -> str:
    """Policies down, lengths of the text across."""
    regret = found["regret"][name]
    marks = [int(mark) for mark in regret["ucb"]]
    rows: list[list[Any]] = [[NAMES[policy], *(f"{f['lost']:.1f} ± {f['error']:.1f}" for f in by_mark.values())]
                             for policy, by_mark in regret.items()]
    rows += [[f"{NAMES[policy]}, reference", *(values.get(mark, "") for mark in marks)]
             for policy, values in REFERENCE[name].items()]
    return table(["rounds lost at tokens", *(f"{mark:,}" for mark in marks)], rows)


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


def switch_table(found: dict[str, Any]) -> str:
    """How soon and at what price each controller follows."""
    rows = [[name, f"{f['back']:.0f} ({f['within'][0]:.0f} to {f['within'][1]:.0f})", f"{f['lost']:.0f} ± {f['lost_error']:.0f}"]
            for name, f in found["switch"].items()]
    return table(["controller", "back after rounds", "tokens lost"], rows)


def written_up(found: dict[str, Any]) -> str:
    """The page."""
    took = ", ".join(f"{NAMES[name]} {each:.1f}" for name, each in found["microseconds"].items())
    half = len(found["switch"]["EXP3Spec"]["share"]) * WINDOW // 2
    return f"""# BanditSpec, again

`paceline cook reproduce/banditspec --runs {found["runs"]}`. Arms are simulated: each drafted token is accepted with a fixed
chance while all before it were. The controllers are this package's own. {found["runs"]} texts, each learned anew; ± one standard
error. Lost are rounds beyond the expected number of the best arm, which is computed exactly. The reference is an independent
simulation of the paper's two algorithms; the paper has no such table. The released code adds the same bonus to every arm, so it
takes the best mean after its first tries: here `ucb:scale=0`, after one try each.

## {TITLES["four"].capitalize()}

{regret_table(found, "four")}

## {TITLES["deep"].capitalize()}

{regret_table(found, "deep")}

{check_lines(found)}

## The best arm changes

Chances .8 .5 .5 .3 for {half:,} rounds, then .3 .5 .5 .8 for as many. Back: rounds after the change until the new best arm has
three quarters of {WINDOW} rounds, median (and the middle 80 % of texts; {half} = not at all). Lost: tokens after the change
against that arm.

{switch_table(found)}

{batch_section(found["batches"])}
{decoding_section(found["decoding"])}
## What deciding costs

Microseconds for picking and learning, one row, eight arms: {took}.

![rounds lost by tokens; share of the best arm](banditspec.png)
"""


def batch_section(batches: dict[Any, Any]) -> str:
    """Draft lengths as arms, by the size of the batch."""
    controllers = list(next(iter(batches.values()))["reached"])
    rows = [[size, f["best"], f"{max(f['speeds']):.2f}x", f"{f['speeds'][-1]:.2f}x",
             *(f"{f['reached'][name]['mean']:.3f} ± {f['reached'][name]['error']:.3f}" for name in controllers)]
            for size, f in batches.items()]
    longest = LENGTHS[-1]
    return f"""## The batch grows

Arms are draft lengths of 0 to {longest}, a drafted token is accepted with chance {CHANCE} while all before it were, and costs are
modelled: a forward takes as long as one token's up to {KNEE} tokens, and in proportion beyond; a drafter's step {STEP} of it.
The paper's second experiment is the measured one (EAGLE, batches of 1 to 50 rows): there a fixed length of 4 falls below plain
decoding on the hardest samples. Fixed lengths are exact and over plain decoding; controllers, which know nothing at first, over
the best length, tokens a second. Counting tokens drafts most, whatever that costs; `reward=net` follows the optimum down.

{table(["rows", "best length", "its speed", f"{longest} always", *controllers], rows)}
"""


def decoding_section(decoding: dict[str, Any]) -> str:
    """Drafters as arms on the real target."""
    parts = list(decoding["methods"]["plain"]["length"])
    rows = [[name, interval(f["length"]["all"], unit=""), *(f"{f['length'][part]['value']:.2f}" for part in parts[1:]),
             interval(f["speed"]["all"], unit="")] for name, f in decoding["methods"].items()]
    grow = decoding["grow"]
    target = f" grown to about {grow:.0f} M parameters (identity blocks: the same text at a realistic cost)" if grow else ""
    return f"""## Drafters as arms on a real target

The embedded target{target}, {decoding["prompts"]} public prompts of
four kinds in turns, at most {decoding["tokens"]} tokens each, greedy, fp32. Arms: no draft, `ngram`, `suffix` and `small_model`,
at most {decoding["budget"]} nodes a round. Tokens for each forward, and speed without prefill over plain decoding, both with 95 %
bootstrap intervals over prompts. Every answer is plain decoding's. The oracle takes on every prompt the fixed arm that was best
there, by its own measure; a controller may pass it, since it can change arms within a text. Texts of this target loop often,
which favours `ngram` and `suffix`.

{table(["method", "tokens for each forward", *parts[1:], "speed"], rows)}
"""


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
