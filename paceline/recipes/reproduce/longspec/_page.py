"""LongSpec's record as a page and a picture; no figure is made here."""

from __future__ import annotations

from typing import Any

from paceline.bench.report import interval
from paceline.recipes.reproduce._record import Mean, bars, mean_of, table
from paceline.recipes.reproduce.longspec._figures import beside, counted, fall, gained, length_at
from paceline.recipes.reproduce.longspec._lengths import CEILING, CONTROL, SHIPPED, WAYS, after

__all__ = ["draw", "written_up"]


def between(edges: list[int]) -> list[str]:
    return [f"{a} to {b}" for a, b in zip(edges, edges[1:], strict=False)]


def heads_of(found: dict[str, Any], way: str) -> dict[str, list[str]]:
    """Who drafts for texts written this way, with the seeds of the long stage together."""
    seeds = [f"{way}, {after(seed)}" for seed in range(found["seeds"])]
    return {SHIPPED: [f"{way}, {SHIPPED}"], "after the long stage": seeds} | {who: [f"{way}, {who}"] for who in others(way)}


def others(way: str) -> list[str]:
    """What the heads are held against: greedy texts are their own ceiling."""
    return [CONTROL] if WAYS[way] == 0 else [CONTROL, CEILING]


def written_up(found: dict[str, Any]) -> str:
    """Tables beside the paper's figures."""
    config, copied = found["config"], [[who, mean_of([s[who] for s in found["copying"]])] for who in found["copying"][0]]
    steps = [[s["length"], int(s["bytes"]), f"{s['ms']:.3f}", f"{s['ms, without reading']:.3f}"] for s in found["steps"]]
    attention = [[a["prefix"], f"{a['dense']:.2f}", f"{a['parts']:.2f}", f"{a['dense'] / a['parts']:.2f}", f"{a['apart']:.1e}",
                  a["mask"], a["own"], f"{a['lean']:.1f}", f"{a['auto']:.1f}"] for a in found["attention"]]
    return f"""# LongSpec, again

`paceline cook reproduce/longspec --data DIR`. {config["seeds"]} seed{"s" if config["seeds"] > 1 else ""}, mean ± half of the 95 %
interval over seeds (Student). Heads of one block as wide as their target, with a norm in front of the shared output head.

{lengths_part(found["lengths"], config)}

{positions_part(found)}

{far_part(found["far"], config)}

## Copying what stood {found["copy"]["apart"]} tokens ago, window {found["copy"]["window"]}: percent of the repeated tokens

{table(["who", "right (target) or in agreement with the target"], copied)}

## A drafted step behind texts of several lengths

Weights of `zoo:tiny`, its context stretched: costs only.

{table(["tokens", "bytes of the head's keys", "ms", "ms without reading the target's keys"], steps)}

The paper: 8.91 ms at up to 5k tokens, 9.25 at 25k to 32k.

## Attention of a tree of 65 tokens to a prefix, fp32

{table(["prefix", "one mask, ms a layer", "in parts", "ratio", "largest difference", "bytes of the mask", "in parts",
        "whole forward, lean, ms", "compiled"], attention)}

The compiled forward has no masks at all: each token's keys are the prefix and its own path. The paper: 49.9 to 12.5 ms for all
layers on a GPU.

![acceptance length by length, agreement by position, and attention](longspec.png)
"""


def lengths_part(found: dict[str, Any], config: dict[str, Any]) -> str:
    """Acceptance length by length of the prompt, its fall, and that beside the control's; then agreement by position."""
    marks = found["lengths"]
    agree = [[who, *(f"{rate:.1f}" for rate in rates)] for who, rates in found["agree"].items()]
    return f"""## Acceptance length by length of the prompt

`zoo:tiny` stretched to eight times its context by YaRN; `zoo:tiny-longspec`, a chain of at most 6, as shipped and after
{config["long_tokens"] / 1e6:.2f} M tokens more on texts of {", ".join(str(n) for n in marks)} tokens with plain positions, at
{config["long_rate"]:g} of the learning rates of the first stage; orders of the texts: {found["seeds"]}.
Prompts of held-out code and prose and of documentation, each cut to its last tokens; brackets: 95 % bootstrap intervals over
prompts, ratios in pairs. What the target writes behind more text may be harder to foresee, whoever drafts: the control sees the
last 512 tokens alone; the ceiling, for sampled texts (temperature 1), is the target's own likeliest tokens, the best that any
drafter could give. Greedy texts behind short prompts often go round in circles, which flatters every drafter.

{"".join(way_part(found, way) for way in WAYS)}
Percent of the tokens of held-out code and prose that are the target's, teacher-forced, by position:

{table(["head", *between(found["edges"])], agree)}

The paper: 3.97 tokens a forward behind 25k to 32k tokens, 4.01 behind up to 5k (0.99)."""


def way_part(found: dict[str, Any], way: str) -> str:
    """For texts written one way: all prompts, those without circles, and each kind of text."""
    marks, who = found["lengths"], heads_of(found, way)
    control = who[CONTROL][0]
    kinds, last = list(found["who"][control]), f"{marks[-1]} over {marks[0]}"
    rows = [[f"{name}{text}", *(interval(length_at(found, names, i, None, straight), unit="") for i in range(len(marks))),
             interval(fall(found, names, None, straight), unit=""),
             *(interval(beside(found, names, f"{way}, {other}", straight), unit="") for other in others(way))]
            for straight, text in samples(found, control) for name, names in who.items()]
    beside_whom = [f"that over the {other.split(':')[0]}'s" for other in others(way)]
    each = [[name, *(interval(fall(found, names, kind), unit="") for kind in kinds)] for name, names in who.items()]
    return f"""{way.capitalize()}, {len(counted(found, [control]))} prompts:

{table(["who drafts", *(f"behind {n}" for n in marks), last, *beside_whom], rows)}

{last} by kind of text:

{table(["who drafts", *kinds], each)}

"""


def samples(found: dict[str, Any], control: str) -> list[tuple[bool, str]]:
    """All prompts; and those without circles, where there are some with and some without."""
    count, straight = (len(counted(found, [control], None, only)) for only in (False, True))
    return [(False, ""), (True, f", the {straight} without circles")] if 0 < straight < count else [(False, "")]


def positions_part(found: dict[str, Any]) -> str:
    """Agreement by position of heads from short trainings, and what offset positions add."""
    seeds, edges = found["positions"], found["edges"]
    parts, masks = range(len(edges) - 1), dict.fromkeys(arm.split(", ")[1] for arm in seeds[0])
    rates = [[arm, *(mean_of([s[arm][i] for s in seeds]) for i in parts)] for arm in seeds[0]]
    gain = [[f"offset over plain, {mask}", *(mean_of([s[f"offset, {mask}"][i] - s[f"plain, {mask}"][i] for s in seeds])
                                             for i in parts)] for mask in masks]
    return f"""## Positions: percent of tokens that are the target's, by position in held-out code and prose

Target `zoo:tiny` (context 2,048), {found["config"]["tokens"] / 1e6:.2f} M tokens in texts of {found["short"]}, window
{found["window"]}, tokens drafted up to {found["block"]} ahead.

{table(["positions, mask", *between(edges)], rates + gain)}

The paper: a given loss on long texts is reached 3.93 times sooner with offset positions; noisy training adds 14.7 % to the
acceptance length."""


def far_part(found: dict[str, Any], config: dict[str, Any]) -> str:
    """KL to the target by position of both arms, and what offset positions gain."""
    seeds, parts = range(config["seeds"]), range(len(found["edges"]) - 1)

    def row(label: str, names: list[str]) -> list[str]:
        """Means over texts, then over seeds."""
        each = [found["kl"][name] for name in names]
        return [label, *(three(mean_of([sum(text[i] for text in texts) / len(texts) for texts in each])) for i in parts)]

    rows = [row(SHIPPED, [SHIPPED]), *(row(arm, [f"{arm}, {seed}" for seed in seeds]) for arm in ("offset", "plain"))]
    gains = [gained(found, len(seeds), i) for i in parts]
    rows += [["offset lower by, over seeds", *(three(mean) for mean, _ in gains)],
             ["offset lower by, over texts", *(f"[{low:.3f}, {high:.3f}]" for _, (low, high) in gains)],
             row("after the long stage", [after(0)])]
    return f"""## Far positions, for a head that reads: KL to the target in nats, by position in held-out code and prose

`zoo:tiny` stretched to eight times its context; the embedded head as shipped, after {config["far_tokens"] / 1e6:.2f} M tokens
more in texts of 128 with offset and with plain positions, and after the long stage above. {len(found["kl"][SHIPPED])} texts.

{table(["positions", *between(found["edges"])], rows)}"""


def three(mean: Mean) -> str:
    """With three decimals."""
    return f"{float(mean):.3f}" if mean.bar == 0.0 else f"{float(mean):.3f} ± {mean.half:.3f}"


def draw(found: dict[str, Any], axes: Any) -> None:
    """Acceptance length by length; agreement by position; attention by prefix."""
    marks, edges = found["lengths"]["lengths"], found["edges"]
    for who, names in heads_of(found["lengths"], "greedy").items():
        each = [length_at(found["lengths"], names, i) for i in range(len(marks))]
        axes[0].errorbar(marks, [one["value"] for one in each], bars(each), marker="o", capsize=2, label=who)
    axes[0].set(xlabel="tokens of the prompt", ylabel="tokens a target forward", xscale="log", ylim=(1, None))
    axes[0].set_xticks(marks, [str(mark) for mark in marks])
    axes[0].set_xticks([], minor=True)
    axes[0].legend(fontsize=7)
    for arm in found["positions"][0]:
        means = [mean_of([s[arm][i] for s in found["positions"]]) for i in range(len(edges) - 1)]
        axes[1].errorbar(range(len(means)), means, [m.bar for m in means], marker="o", capsize=2, label=arm)
    axes[1].set_xticks(range(len(edges) - 1), [f"{a}–{b}" for a, b in zip(edges, edges[1:], strict=False)])
    axes[1].set(xlabel="position in the text", ylabel="% of tokens that are the target's")
    axes[1].legend(fontsize=7)
    for name, label in (("dense", "one mask"), ("parts", "in parts")):
        axes[2].plot([a["prefix"] for a in found["attention"]], [a[name] for a in found["attention"]], marker="o", label=label)
    axes[2].set(xlabel="tokens of the prefix", ylabel="ms, 65 tokens, one layer", xscale="log", yscale="log")
    axes[2].legend(fontsize=7)
