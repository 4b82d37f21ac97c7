"""The record of Markov translation as a page and a picture; no figure is made here."""

from __future__ import annotations

from typing import Any

from paceline.bench.report import interval
from paceline.recipes.reproduce._record import bars, mean_of, rendered
from paceline.recipes.reproduce.markov._grammar import ENDINGS
from paceline.recipes.reproduce.markov._known import APART
from paceline.recipes.reproduce.markov._real import FULL, ORDERS, USUAL

__all__ = ["draw", "written_up"]

CHANCE = 100 / ENDINGS
CEILING = 99  # percent of the endings


def written_up(found: dict[str, Any]) -> str:
    """Tables beside the paper's claims."""
    columns = [str(order) for (order,) in APART]
    rows = [[name, line["enough"], reached(line), *(cell(line, order) for order in columns)]
            for name, line in found["known"].items()]
    words = min(run["words"] for line in found["known"].values() for runs in line["orders"].values() for run in runs)
    return rendered(__file__, found=found, real=found["real"], heads=list(map(named, columns)), rows=rows, words=100 * words,
                    chance=CHANCE, ceiling=CEILING, memory=memory_rows(found["memory"]), systems=systems(found["real"]),
                    buckets=buckets(found["real"]), interval=interval)


def named(order: str) -> str:
    return {FULL: "all", USUAL: "usual decoder"}.get(order, order)


def endings(line: dict[str, Any], order: str) -> Any:
    """Percent of them that are right."""
    return mean_of([100 * run["endings"] for run in line["orders"][order]])


def cell(line: dict[str, Any], order: str) -> str:
    return str(endings(line, order)) if order in line["orders"] else ""


def reached(line: dict[str, Any]) -> str:
    """The first order with which every seed is at the ceiling."""
    high = [named(order) for order, runs in line["orders"].items() if min(100 * run["endings"] for run in runs) >= CEILING]
    return high[0] if high else "none"


def memory_rows(memory: dict[str, Any]) -> list[list[Any]]:
    both = zip(memory["lengths"], *(memory[kind][what] for what in ("bytes", "milliseconds") for kind in ("markov", "ar")),
               strict=True)
    first = [memory[kind]["milliseconds"][0] for kind in ("markov", "ar")]
    return [[n, f"{markov:,}", f"{usual:,}", *(f"{t / start:.2f}" for t, start in zip(times, first, strict=True))]
            for n, markov, usual, *times in both]


def systems(real: dict[str, Any] | None) -> list[list[str]]:
    """By order; the usual decoder last."""
    return [] if real is None else [[named(name), interval(of["bleu"], unit=""), *(compared(of, full) for full in (FULL, USUAL)),
             interval(of["repetition"], unit=""), interval(of["length"], 3, "")] for name, of in real["systems"].items()]


def compared(system: dict[str, Any], full: str) -> str:
    """The difference, and whether it counts as none."""
    difference = system[f"less_{full}"]
    if difference["low"] == difference["high"] == 0:
        return "–"
    return interval(difference, unit="") + (", equal" if difference["equal"] else "")


def buckets(real: dict[str, Any] | None) -> list[list[str]]:
    return [] if real is None else [["{} to {}".format(*of["words"]), of["texts"], interval(of["low"], unit=""),
             interval(of["gain"], unit="")] for of in real["by_length"]["buckets"]]


def draw(found: dict[str, Any], axes: Any) -> None:
    """Endings by order where a rule of 3 has to be kept, and where a choice has; memory by length; BLEU by order."""
    lines = list(found["known"].items())
    for axis, some in ((axes[0], lines[:2]), (axes[1], lines[2:4])):
        draw_known(dict(some), axis)
    memory = found["memory"]
    for kind, name in (("markov", "k = 4"), ("ar", "usual decoder")):
        axes[2].plot(memory["lengths"], [size / 1024 for size in memory[kind]["bytes"]], marker="o", label=name)
    axes[2].set(xlabel="tokens written", ylabel="kept keys, KiB")
    axes[2].legend(fontsize=7)
    if found["real"]:
        draw_bleu(found["real"]["systems"], axes[3])


def draw_known(lines: dict[str, Any], axis: Any) -> None:
    orders = [str(order) for (order,) in APART]
    for name, line in lines.items():
        held = [order for order in orders if order in line["orders"]]
        means = [endings(line, order) for order in held]
        axis.errorbar([orders.index(order) for order in held], means, [mean.bar for mean in means], marker="o", label=name)
    axis.axhline(CHANCE, color="grey", linestyle=":")
    axis.set(xlabel="k", ylabel="right endings, %", ylim=(0, 105), xticks=range(len(orders)), xticklabels=map(named, orders))
    axis.legend(fontsize=7)


def draw_bleu(systems: dict[str, Any], axis: Any) -> None:
    held = [systems[str(order)]["bleu"] for order in ORDERS]
    axis.errorbar(range(len(held)), [of["value"] for of in held], bars(held), marker="o", label="one model, by k")
    axis.axhline(systems[USUAL]["bleu"]["value"], color="grey", linestyle=":", label="usual decoder")
    axis.set(xlabel="k", ylabel="BLEU", xticks=range(len(held)), xticklabels=[named(str(order)) for order in ORDERS])
    axis.legend(fontsize=7)
