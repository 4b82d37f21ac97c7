"""What the record of EXAM says: tables, and a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from paceline.recipes.reproduce._record import Mean, mean_of, rendered

__all__ = ["beside", "draw", "written_up"]

SHOWN = {"accuracy": "accuracy, %", "macro_f1": "macro-F1, %", "precision": "precision (at most 4.25)", "recall_at_5": "R@5, %",
         "f1_printed": "F1 as printed", "f1_at_5": "F1 at 5, %"}  # fmt: skip
NO_PERCENT = ("precision", "f1_printed")


def written_up(found: dict[str, Any], exam: str) -> str:
    """The page."""
    tasks = [part(name, task, exam) for name, task in found["tasks"].items()]
    keywords = [[task, arm, *(points(values) for values in by.values())] for task, arms in found["keywords"].items()
                for arm, by in arms.items()]
    lengths = list(next(iter(next(iter(found["keywords"].values())).values())))
    return rendered(str(Path(__file__).with_name("__init__.py")), found=found, tasks=tasks, keywords=keywords, lengths=lengths,
                    ablations=ablations(found, exam))


def part(name: str, task: dict[str, Any], exam: str) -> dict[str, Any]:
    """One task's words and table."""
    shown = [figure for figure in SHOWN if figure in task["runs"][exam][0]["figures"]]
    rows = [[arm, *(figure_of(runs, figure) for figure in shown), *compared(task, arm, exam), rate_of(task, arm)]
            for arm, runs in task["runs"].items()]
    first = {arm: mean_of([list(run["checks"].values())[1] for run in task["runs"][arm]]) for arm in task["rates"]}
    looks = {arm: [run["deleted"] for run in runs if run.get("deleted")] for arm, runs in task["runs"].items()}
    falls = [[arm, *(points([one[how] for one in some]) for how in ("loudest", "random"))] for arm, some in looks.items() if some]
    return {"name": name, "head": ["arm", *(SHOWN[f] for f in shown), "EXAM over it, seeds", "EXAM over it, texts", "rate"],
            "rows": rows, "texts": task["texts"], "labels": task["labels"], "falls": falls,
            "first": ", ".join(f"{arm} {scaled(value, task['multi'])}" for arm, value in first.items())}  # fmt: skip


def figure_of(runs: list[dict[str, Any]], figure: str) -> str:
    values = [run["figures"][figure] for run in runs]
    return str(mean_of(values)) if figure in NO_PERCENT else points(values)


def points(values: list[float]) -> str:
    """A share as percent."""
    return str(mean_of([100 * value for value in values]))


def scaled(value: Mean, multi: bool) -> str:
    return f"{value:.2f}" if multi else f"{100 * value:.1f} %"


def rate_of(task: dict[str, Any], arm: str) -> str:
    return f"{task['rates'][arm]:g}" if arm in task["rates"] else "–"


def beside(task: dict[str, Any], arm: str, exam: str) -> tuple[Mean, Mean]:
    """EXAM less another arm in the figure that texts are scored by: with its interval over seeds, seed by seed, and over the
    texts of the test set, each text's mean over the seeds.
    """
    ours, theirs = ([np.array(run["each"]) for run in task["runs"][name]] for name in (exam, arm))
    pairs = [a - theirs[i % len(theirs)] for i, a in enumerate(ours)]
    seeds = mean_of([float(pair.mean()) for pair in pairs])
    by_text = np.mean(pairs, axis=0)
    texts = Mean(by_text.mean())
    texts.half = float(1.96 * by_text.std(ddof=1) / len(by_text) ** 0.5)
    return seeds, texts


def compared(task: dict[str, Any], arm: str, exam: str) -> list[str]:
    if arm == exam:
        return ["–", "–"]
    scale = 1 if task["multi"] else 100
    return [f"{scale * value:+.2f} ± {scale * value.bar:.2f}" for value in beside(task, arm, exam)]


def ablations(found: dict[str, Any], exam: str) -> list[list[str]]:
    """Change -> accuracy, and how far it is from EXAM's with the same seeds."""
    rows = []
    for change, runs in found["ablations"].items():
        whole = next(iter(found["tasks"].values()))["runs"][exam]
        ours, theirs = ([run["figures"]["accuracy"] for run in some] for some in (whole, runs))
        rows.append([change, points(theirs), points([b - a for a, b in zip(ours, theirs, strict=False)])])
    return rows


def draw(found: dict[str, Any], exam: str, axes: Any) -> None:
    """Keywords by length of the text, and EXAM's lead over the others by task."""
    draw_keywords(found["keywords"], axes[0])
    draw_leads(found["tasks"], exam, axes[1])


def draw_keywords(keywords: dict[str, Any], axis: Any) -> None:
    """Solid: the keyword decides wherever it stands; dashed: together with its place."""
    for arms, line in zip(keywords.values(), ("-", "--"), strict=True):
        for i, (arm, by) in enumerate(arms.items()):
            ticks = list(map(int, by))
            axis.plot(ticks, [100 * float(np.mean(v)) for v in by.values()], line, marker="o", color=f"C{i}",
                      label=arm if line == "-" else None)
    axis.axhline(25, color="grey", linewidth=0.8)
    axis.set(xscale="log", xticks=ticks, xticklabels=ticks, xlabel="words in a text", ylabel="accuracy, %",
             title="one keyword decides (dashed: and its place)")
    axis.legend(fontsize=7)


def draw_leads(tasks: dict[str, Any], exam: str, axis: Any) -> None:
    """In percent of the other arm's score, with the interval over texts."""
    places = [(name, arm) for name, task in tasks.items() for arm in list(task["runs"])[1:-1]]  # not EXAM itself, nor the null
    for y, (name, arm) in enumerate(places):
        base = 100 / float(np.mean([np.mean(run["each"]) for run in tasks[name]["runs"][arm]]) or 1.0)
        _, lead = beside(tasks[name], arm, exam)
        axis.errorbar(base * lead, y, xerr=base * lead.bar, fmt="o", color="C0")
    axis.axvline(0, color="grey", linewidth=0.8)
    axis.set(yticks=range(len(places)), yticklabels=[f"{name}: {arm}" for name, arm in places], xlabel="EXAM over it, %")
    axis.tick_params(axis="y", labelsize=7)
