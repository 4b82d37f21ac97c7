"""The record of slash heads as a page and a picture; no figure is made here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from paceline.bench.report import interval
from paceline.probes._directions import no_direction
from paceline.probes.slash import uniform
from paceline.recipes.reproduce._record import mean_of, rendered
from paceline.recipes.reproduce.slash_heads._real import CHANGES

__all__ = ["draw", "written_up"]

Runs = Sequence[dict[str, Any]]
PARTS = ("whole", "high", "medium", "low", "mean")


def written_up(found: dict[str, Any]) -> str:
    """Tables beside the paper's claims."""
    toys = [[name, *(of_seeds(runs, key) for key in ("learned", "foretold")),
             *(mean_of([run[key] for run in runs]) for key in ("score", "others"))] for name, runs in found["toys"].items()]
    begun = [run["history"][0]["score"] for runs in found["text"].values() for run in runs]
    null = {"even": float(uniform(128, (1,), None, True)), "energy": no_direction(128, 16)["energy"], "begun": mean_of(begun)}
    return rendered(__file__, found=found, real=found["real"], lags=real_rows(found["real"]), toys=toys, null=null,
                    text=trained_rows(found["text"]), copying=trained_rows(found["copying"], 100), interval=interval,
                    along=mean_of([run["along"] for run in found["text"]["free"]]))


def real_rows(real: dict[str, Any] | None) -> list[list[Any]]:
    """By distance, where there are slash heads."""
    if real is None:
        return []
    return [[lag, "{} ({} to {})".format(*real["counts"][lag]), f"{of['best']:.2f}", f"{of['lift']:.0f}",
             interval(of["random"], unit=""), f"{of['keep']:.0%}", f"{of['overlap']:.2f}",
             *(interval(of["changed"][name], unit="") for name in CHANGES), f"{of['told']} and {of['near']}"]
            for lag, of in real["lags"].items()]


def trained_rows(arms: dict[str, Runs], scale: float = 1.0) -> list[list[Any]]:
    """Of every arm the head with the best score at the watched distance, and what the whole model does, changed and as it is."""
    def row(runs: Runs) -> list[Any]:
        last = [run["history"][-1] for run in runs]
        return [*(mean_of([look[name] for look in last]) for name in ("score", "query", "key")), of_seeds(runs, "learned"),
                of_seeds(runs, "foretold"), mean_of([run["other"] for run in runs]),
                *(mean_of([scale * run["model"][part] for run in runs]) for part in PARTS)]

    return [[name, *row(runs)] for name, runs in arms.items()]


def of_seeds(runs: Runs, name: str) -> str:
    """A figure of every seed; once where it is always the same."""
    values = [str(run[name]) for run in runs]
    return ", ".join(values if len(set(values)) > 1 else values[:1])


def draw(found: dict[str, Any], axes: Any) -> None:
    """What each rotary pair adds to the default model's slash heads; the best head of small models along the steps; copying."""
    if found["real"] is not None:
        pairs_map(found["real"]["pairs"], axes[0])
    for name, runs in found["text"].items():
        steps = [look["step"] for look in runs[0]["history"]]
        each = zip(*([look["score"] for look in run["history"]] for run in runs), strict=True)
        axes[1].plot(steps, [mean_of(values) for values in each], label=name)
    axes[1].set(xlabel="step", ylabel="best head's score at distance 1, text", ylim=(0, 1.5))
    axes[1].legend(fontsize=6, ncols=2, loc="upper left")
    means = {name: mean_of([run["history"][-1]["score"] for run in runs]) for name, runs in found["copying"].items()}
    axes[2].barh(list(means), list(means.values()), xerr=[mean.bar for mean in means.values()])
    axes[2].invert_yaxis()
    axes[2].tick_params(axis="y", labelsize=7)
    axes[2].set(xlabel="best head's score at the copied distance", xlim=(0, 1))


def pairs_map(pairs: dict[str, Any], axis: Any) -> None:
    """Heads by pairs, fastest first: red adds to the score at distance 1, blue takes from it."""
    top = max(abs(x) for row in pairs["added"] for x in row) or 1.0
    axis.imshow(pairs["added"], cmap="RdBu_r", vmin=-top, vmax=top, aspect="auto")
    every = range(0, len(pairs["wavelength"]), 4)
    axis.set_xticks(list(every), [f"{pairs['wavelength'][i]:.0f}" for i in every], fontsize=6)
    axis.set_yticks(range(len(pairs["heads"])), pairs["heads"], fontsize=5)
    axis.set(xlabel="wavelength of the rotary pair, tokens", ylabel="head",
             title=f"what a pair adds to the score at distance 1 (red, at most {top:.2f})")
    axis.title.set_fontsize(7)
