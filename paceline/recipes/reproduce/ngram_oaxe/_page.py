"""The record of n-gram OaXE as a page and a picture; no figure is made here."""

from __future__ import annotations

from typing import Any

from paceline.recipes.reproduce._free_order import Runs, gained, points, ratio
from paceline.recipes.reproduce._record import rendered

__all__ = ["draw", "written_up"]

SHOWN = {"exact": "exact", "bag": "right words", "ordered": "order, given them", "lcs": "LCS", "lost": "pairs lost",
         "repetition": "repetition", "confidence": "confidence"}  # fmt: skip
FITS = {"exact": "exact", "bag": "right words", "lost": "pairs lost", "disagree": "determiners that disagree", "lcs": "LCS"}
ERRORS = {key: FITS[key] for key in ("lost", "disagree")}
ONE, TWO = "n = 1, OaXE", "n = 2"


def written_up(found: dict[str, Any]) -> str:
    """Tables beside the paper's claims."""
    return rendered(__file__, found=found, free=rows(found["free"], SHOWN), free_head=["arm", *SHOWN.values()],
                    agreeing=rows(found["agreeing"], FITS), agreeing_head=["arm", *FITS.values()],
                    null={kind: {key: f"{100 * value:.1f}" for key, value in of.items()} for kind, of in found["null"].items()},
                    gained={key: gained(found["free"][TWO], found["free"][ONE], key) for key in ("lcs", "ordered")},
                    ratios=[[label, *(ratio(found["agreeing"][ONE + when], found["agreeing"][TWO + when], key)
                                      for when in ("", ", after XE"))] for key, label in ERRORS.items()])


def rows(runs: Runs, shown: dict[str, str]) -> list[list[Any]]:
    return [[name, *(points(of, key) for key in shown)] for name, of in runs.items()]


def draw(found: dict[str, Any], axes: Any) -> None:
    """What longer phrases give and take; errors inside phrases."""
    alone = {name: found["free"][name] for name in (ONE, TWO, "n = 3", "whole, XE")}
    marks(axes[0], alone, {"bag": "right words", "ordered": "in a right order, given them", "exact": "both"})
    axes[0].set(title="no XE before", ylabel="%", ylim=(0, 100))
    marks(axes[1], found["agreeing"], ERRORS)
    axes[1].set(title="errors inside phrases", ylabel="%", ylim=(0, None))


def marks(axis: Any, runs: Runs, keys: dict[str, str]) -> None:
    """Figures of each arm."""
    for key, label in keys.items():
        means = [points(of, key) for of in runs.values()]
        axis.errorbar(list(runs), means, yerr=[mean.bar for mean in means], fmt="o", capsize=3, label=label)
    axis.tick_params(axis="x", labelsize=7)
    axis.legend(fontsize=7)
