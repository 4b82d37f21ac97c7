"""The record of all directions as a page and a picture; no figure is made here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from paceline.bench.report import interval
from paceline.recipes.reproduce._record import bars, rendered
from paceline.recipes.reproduce.nat_translation._figures import TEACHER
from paceline.recipes.reproduce.nat_translation._speed import AGAINST, DRAFTED
from paceline.recipes.reproduce.nat_translation._written import CHOSEN, COLLAPSED, NAT, TRUE
from paceline.recipes.reproduce.nat_translation._written import TEACHER as TEACHERS_WAYS

__all__ = ["draw", "verdict", "written_up"]

NAMES = {"xe": "XE", "oaxe": "OaXE", "ngram_oaxe": "n-gram OaXE"}
FIGURES = {"bleu": "BLEU", "collapsed": "BLEU, collapsed", "chrf": "chrF",
           **{f"precision_{n}": f"{n}-grams right, %" for n in (2, 3, 4)},
           "repetition": "repeated tokens, %", "confidence": "confidence, %", "nats": "nats a token"}  # fmt: skip
WAYS = [*NAT, CHOSEN, COLLAPSED, TRUE]
STEPS = {"OaXE": "oaxe less xe", "n-gram OaXE": "ngram_oaxe less oaxe"}  # what each objective adds to the one before


def written_up(record: dict[str, Any]) -> str:
    """Tables of every direction, and the signs of all of them."""
    parts = [{"name": name, **found, "quality": quality_rows(found), "differences": step_rows(found), "decoding": way_rows(found),
              "timing": speed_rows(found["speed"]), "drafts": draft_rows(found["drafted"])} for name, found in record.items()]
    return rendered(__file__, parts=parts, figures=list(FIGURES.values()), ways=WAYS,
                    signs=sign_rows(record), above=above(record), named=named)


def named(model: str) -> str:
    """`raw ngram_oaxe` in words."""
    return " ".join(NAMES.get(word, word) for word in model.split())


def cell(figure: dict[str, Any] | None, key: str) -> str:
    return interval(figure, 1 if key in ("bleu", "collapsed", "chrf") or key.startswith("precision") else 2, "")


def quality_rows(found: dict[str, Any]) -> list[list[str]]:
    return [[named(name), *(cell(some.get(key), key) for key in FIGURES)] for name, some in found["measured"].items()]


def step_rows(found: dict[str, Any]) -> list[list[str]]:
    return [[f"{kind}: {named(step)}", *(cell(some.get(key), key) for key in FIGURES)]
            for kind, steps in found["changes"].items() for step, some in steps.items()]


def way_rows(found: dict[str, Any]) -> list[list[str]]:
    return [[named(name), *(cell(some[way]["bleu"], "bleu") for way in WAYS)]
            for name, some in found["ways"].items() if name != TEACHER]


def speed_rows(speed: dict[str, Any] | None) -> list[list[str]]:
    """Of each way, one sentence at a time and 32 together: sentences a second, and rates over the teacher's."""
    sizes = speed["sizes"].values() if speed else []
    ways = dict.fromkeys(way for arms in sizes for way in arms)
    return [[spoken(way), *(text for arms in sizes for text in rates(arms[way]))] for way in ways]


def rates(arm: dict[str, Any]) -> list[str]:
    over = [f"sentences over {other}" for other in AGAINST] + [f"tokens over {AGAINST[0]}"]
    return [f"{arm['sentences']:.1f}", *(interval(arm[name], 1) for name in over)]


def draft_rows(drafted: dict[str, Any] | None) -> list[list[str]]:
    """Of each way to draft, the same; a round's tokens, and how many translations are the plain teacher's."""
    sizes = drafted["sizes"].values() if drafted else []
    ways = dict.fromkeys(way for arms in sizes for way in arms if way != DRAFTED[0])
    return [[named(way), *(text for arms in sizes for text in draft_figures(arms[way]))] for way in ways]


def draft_figures(arm: dict[str, Any]) -> list[str]:
    over = [interval(arm[f"sentences over {other}"], 2) for other in DRAFTED]
    return [f"{arm['acceptance_length']:.2f}", *over, f"{100 * arm['identical']:.1f}"]


def spoken(way: str) -> str:
    return f"teacher, {way}" if way in TEACHERS_WAYS else way


def kinds(record: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Direction, kind of data, and its steps."""
    return ((name, kind, steps) for name, found in record.items() for kind, steps in found["changes"].items())


def sign_rows(record: dict[str, Any]) -> list[list[Any]]:
    return [[name, kind, record[name]["pairs"], cell(record[name]["measured"][f"{kind} xe"]["bleu"], "bleu"),
             *(text for step in STEPS.values() for text in (cell(steps[step]["bleu"], "bleu"), verdict(steps[step]["bleu"]))),
             cell(steps[STEPS["OaXE"]]["repetition"], "repetition")] for name, kind, steps in kinds(record)]


def verdict(figure: dict[str, float]) -> str:
    """The sign of a difference; in brackets where the interval holds 0."""
    sign = "+" if figure["value"] > 0 else "−"
    return sign if figure["low"] > 0 or figure["high"] < 0 else f"({sign})"


def above(record: dict[str, Any]) -> dict[str, tuple[int, int, int]]:
    """Objective -> in how many cases its BLEU is above that of the one before, whose whole interval is, of so many."""
    found = {name: [steps[step]["bleu"] for _, _, steps in kinds(record)] for name, step in STEPS.items()}
    return {name: (sum(f["value"] > 0 for f in some), sum(f["low"] > 0 for f in some), len(some)) for name, some in found.items()}


def draw(record: dict[str, Any], axes: Any) -> None:
    """What each objective adds in every case; phrases that are right, and quality beside speed, in the first direction."""
    first = next((found for found in record.values() if found["speed"]), next(iter(record.values())))
    draw_gains(record, axes[0])
    draw_phrases(first, axes[1])
    draw_speed(first, axes[2])


def draw_gains(record: dict[str, Any], axis: Any) -> None:
    cases = list(kinds(record))
    for i, (name, step) in enumerate(STEPS.items()):
        gains = [steps[step]["bleu"] for _, _, steps in cases]
        places = [y + 0.2 * i for y in range(len(cases))]
        axis.errorbar([gain["value"] for gain in gains], places, xerr=bars(gains), fmt="o", markersize=4, capsize=2,
                      label=f"{name} over {'XE' if not i else 'OaXE'}")
    axis.axvline(0, color="grey", linewidth=0.8)
    axis.set_yticks([y + 0.1 for y in range(len(cases))], [f"{name}, {kind}" for name, kind, _ in cases], fontsize=7)
    axis.invert_yaxis()
    axis.set(xlabel="BLEU gained")
    axis.legend(fontsize=7, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1))


def draw_phrases(found: dict[str, Any], axis: Any) -> None:
    """Raw dashed, distilled solid, the teacher black."""
    for name in found["ways"]:
        kind, *objective = name.split()
        line = f"C{list(NAMES).index(objective[0])}{'--' if kind == 'raw' else '-'}" if objective else "k-"
        right = [found["measured"][name][f"precision_{n}"]["value"] for n in range(1, 5)]
        axis.plot(range(1, 5), right, line, marker="o", markersize=3, label=named(name))
    axis.set(xlabel="n", xticks=range(1, 5), ylabel="n-grams that the reference has, %")
    axis.legend(fontsize=7)


def draw_speed(found: dict[str, Any], axis: Any) -> None:
    """BLEU of every way of writing by its speed, one sentence at a time."""
    axis.set(xlabel="sentences a second, teacher's greedy = 1", ylabel="BLEU")
    if found["speed"] is None:
        axis.text(0.5, 0.5, "speed was not measured", ha="center", transform=axis.transAxes)
        return
    last = list(found["ways"])[-1]
    for i, (way, arm) in enumerate(found["speed"]["sizes"]["1"].items()):
        own, marker = (TEACHER, "s") if way in TEACHERS_WAYS else (last, "o")
        speed, bleu = arm[f"sentences over {AGAINST[0]}"], found["ways"][own][way]["bleu"]
        axis.errorbar(speed["value"], bleu["value"], xerr=bars([speed]), yerr=bars([bleu]), fmt=marker, color=f"C{i}",
                      label=spoken(way))
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.margins(x=0.2)
    axis.legend(fontsize=7)
