"""LongSpec's record as a page and a picture; no figure is made here."""

from __future__ import annotations

from typing import Any

from paceline.bench.report import interval
from paceline.recipes.reproduce._record import Mean, bars, mean_of, rendered
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
    lengths, far = found["lengths"], found["far"]
    marks = lengths["lengths"]
    agree = [[who, *(f"{rate:.1f}" for rate in rates)] for who, rates in lengths["agree"].items()]
    copied = [[who, mean_of([s[who] for s in found["copying"]])] for who in found["copying"][0]]
    steps = [[s["length"], int(s["bytes"]), f"{s['ms']:.3f}", f"{s['ms, without reading']:.3f}"] for s in found["steps"]]
    attention = [[a["prefix"], f"{a['dense']:.2f}", f"{a['parts']:.2f}", f"{a['dense'] / a['parts']:.2f}", f"{a['apart']:.1e}",
                  a["mask"], a["own"], f"{a['lean']:.1f}", f"{a['auto']:.1f}"] for a in found["attention"]]
    return rendered(__file__, found=found, config=found["config"], lengths=lengths, behind=[f"behind {n}" for n in marks],
                    last=f"{marks[-1]} over {marks[0]}", ways=[way_figures(lengths, way) for way in WAYS],
                    near=between(lengths["edges"]), agree=agree,
                    edges=between(found["edges"]), positions=position_rows(found), far=far_rows(far, found["config"]["seeds"]),
                    far_edges=between(far["edges"]), far_texts=len(far["kl"][SHIPPED]), copied=copied, steps=steps,
                    attention=attention)


def way_figures(found: dict[str, Any], way: str) -> dict[str, Any]:
    """For texts written one way: all prompts, those without circles, and each kind of text."""
    marks, who = found["lengths"], heads_of(found, way)
    control = who[CONTROL][0]
    kinds = list(found["who"][control])
    rows = [[f"{name}{text}", *(interval(length_at(found, names, i, None, straight), unit="") for i in range(len(marks))),
             interval(fall(found, names, None, straight), unit=""),
             *(interval(beside(found, names, f"{way}, {other}", straight), unit="") for other in others(way))]
            for straight, text in samples(found, control) for name, names in who.items()]
    each = [[name, *(interval(fall(found, names, kind), unit="") for kind in kinds)] for name, names in who.items()]
    return {"name": way, "prompts": len(counted(found, [control])), "rows": rows, "kinds": kinds, "each": each,
            "beside": [f"that over the {other.split(':')[0]}'s" for other in others(way)]}


def samples(found: dict[str, Any], control: str) -> list[tuple[bool, str]]:
    """All prompts; and those without circles, where there are some with and some without."""
    count, straight = (len(counted(found, [control], None, only)) for only in (False, True))
    return [(False, ""), (True, f", the {straight} without circles")] if 0 < straight < count else [(False, "")]


def position_rows(found: dict[str, Any]) -> list[list[Any]]:
    """Agreement by position of heads from short trainings, and what offset positions add."""
    seeds, edges = found["positions"], found["edges"]
    parts, masks = range(len(edges) - 1), dict.fromkeys(arm.split(", ")[1] for arm in seeds[0])
    rates = [[arm, *(mean_of([s[arm][i] for s in seeds]) for i in parts)] for arm in seeds[0]]
    gain = [[f"offset over plain, {mask}", *(mean_of([s[f"offset, {mask}"][i] - s[f"plain, {mask}"][i] for s in seeds])
                                             for i in parts)] for mask in masks]
    return rates + gain


def far_rows(found: dict[str, Any], count: int) -> list[list[str]]:
    """KL to the target by position of both arms, and what offset positions gain."""
    seeds, parts = range(count), range(len(found["edges"]) - 1)

    def row(label: str, names: list[str]) -> list[str]:
        """Means over texts, then over seeds."""
        each = [found["kl"][name] for name in names]
        return [label, *(three(mean_of([sum(text[i] for text in texts) / len(texts) for texts in each])) for i in parts)]

    rows = [row(SHIPPED, [SHIPPED]), *(row(arm, [f"{arm}, {seed}" for seed in seeds]) for arm in ("offset", "plain"))]
    gains = [gained(found, len(seeds), i) for i in parts]
    rows += [["offset lower by, over seeds", *(three(mean) for mean, _ in gains)],
             ["offset lower by, over texts", *(f"[{low:.3f}, {high:.3f}]" for _, (low, high) in gains)],
             row("after the long stage", [after(0)])]
    return rows


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
