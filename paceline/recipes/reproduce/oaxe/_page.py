"""The record of OaXE as a page and a picture; no figure is made here."""

from __future__ import annotations

from typing import Any

from paceline.recipes.reproduce._free_order import Runs, gained, points, ratio
from paceline.recipes.reproduce._record import rendered
from paceline.recipes.reproduce.oaxe._overhead import ARMS

__all__ = ["draw", "written_up"]

SHOWN = {"exact": "exact", "bag": "right words", "lcs": "LCS", "repetition": "repetition", "confidence": "confidence"}
DRAWN = ("XE, then more XE", "OaXE", "OaXE, margin 0.15")


def written_up(found: dict[str, Any]) -> str:
    """Tables beside the paper's claims."""
    tables = {share: [[name, *(points(of, key) for key in SHOWN)] for name, of in runs.items()]
              for share, runs in found["runs"].items()}
    claims = [[share, *beside(runs)] for share, runs in found["runs"].items()]
    costs = [[name, *(f"{of[arm]:.0f}" for arm in ARMS), f"{of['matching']:.0%}"] for name, of in found["overhead"].items()]
    nulls = {share: [f"{100 * of[key]:.1f}" for key in ("exact", "lcs", "repetition")] for share, of in found["null"].items()}
    return rendered(__file__, found=found, head=["arm", *SHOWN.values()], tables=tables, claims=claims, costs=costs, nulls=nulls)


def beside(runs: Runs) -> list[str]:
    """OaXE against as many more steps of XE, seed by seed."""
    xe, ours = runs["XE, then more XE"], runs["OaXE"]
    return [ratio(ours, xe, "exact"), ratio(ours, xe, "repetition"), gained(ours, xe, "confidence"), gained(ours, xe, "lcs")]


def draw(found: dict[str, Any], axes: Any) -> None:
    """By how often the subject comes first."""
    shares = sorted(found["runs"])
    for axis, key in zip(axes, ("exact", "repetition", "confidence"), strict=True):
        for name in DRAWN:
            means = [points(found["runs"][share][name], key) for share in shares]
            axis.errorbar(shares, means, yerr=[mean.bar for mean in means], marker="o", capsize=3, label=name)
        axis.set(xlabel="share of sentences with the subject first", ylabel=f"{SHOWN[key]}, %", ylim=(0, None))
    axes[0].legend(fontsize=7)
