"""The record of drift as a page and a picture; no figure is made here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from paceline.recipes.reproduce._record import Mean, mean_of, rendered

__all__ = ["draw", "written_up"]


def each(parts: Sequence[dict[str, Any]], name: str) -> torch.Tensor:
    """A figure for every text of several parts, [texts, modes, shifts, …]; of drift, first_share and first_logit the last axis is
    the length, of by_key the octave, and sinks has none.
    """
    return torch.tensor([text for part in parts for text in part[name]], dtype=torch.float64)


def cells(values: torch.Tensor) -> list[str]:
    """Of [texts, n], means over texts with the half-widths of their 95 % intervals."""
    return [cell(mean_of(column.tolist())) for column in values.T]


def cell(mean: Mean) -> str:
    value = f"{float(mean):,.0f}" if mean >= 1000 else f"{float(mean):.3g}"
    return value if mean.bar == 0.0 else f"{value} ± {float(f'{mean.half:.2g}'):g}"


def written_up(found: dict[str, Any]) -> str:
    """Tables beside what the paper says."""
    long, modes, lengths = found["long"], *(found["long"][0]["ticks"][axis] for axis in ("mode", "length"))
    drift, share, logit = (each(long, name)[:, :, 0] for name in ("drift", "first_share", "first_logit"))
    ratio = drift[:, modes.index("bf16")] / drift[:, modes.index("fp32")]
    even = share * torch.tensor(lengths)
    first = [[mode, *(f"{100 * float(s):.2f} ({float(e):.0f}x)" for s, e in zip(*row, strict=True))]
             for mode, *row in zip(modes, share.mean(0), even.mean(0), strict=True)]
    by_shift, as_it_is = found["shifts"], found["sinks"]["as it is"]
    return rendered(__file__, found=found, settings=found["settings"], lengths=lengths, first=first, whole=whole_rows(found),
                    moved=[*by_mode(modes, drift), ["bf16 over fp32", *cells(ratio), grown(ratio)]], logit=by_mode(modes, logit),
                    shifts=by_shift["ticks"]["shift"], by_shift=[["D", *cells(each([by_shift], "drift")[:, 0, :, 0])]],
                    short=found["pretrained, bf16"]["ticks"]["length"], sinks=sink_rows(found["sinks"]),
                    texts=len(as_it_is["total"]), correlation=cells(each([as_it_is], "sinks")[:, 0])[0],
                    seeds=len(untrained(found)))


def by_mode(modes: Sequence[str], values: torch.Tensor) -> list[list[str]]:
    """Rows of [texts, modes, lengths], and how many times the last length's is the first one's."""
    return [[mode, *cells(values[:, m]), grown(values[:, m])] for m, mode in enumerate(modes)]


def grown(values: torch.Tensor) -> str:
    return cell(mean_of((values[:, -1] / values[:, 0]).tolist()))


def whole_rows(found: dict[str, Any]) -> list[list[str]]:
    """Of whole models, means over shifts: D by length, the first key's share of it at the last, and how far its scores move."""
    arms = {name: [found[name]] for name in ("pretrained, bf16", "pretrained, fp32")}
    arms["untrained, bf16"] = untrained(found)

    def row(parts: list[dict[str, Any]]) -> list[str]:
        drift, share, logit = (each(parts, name)[:, 0].mean(1) for name in ("drift", "first_share", "first_logit"))
        return [*cells(drift), *cells(100 * share[:, -1:]), *cells(logit[:, [0, -1]])]

    return [[arm, *row(parts)] for arm, parts in arms.items()]


def untrained(found: dict[str, Any]) -> list[dict[str, Any]]:
    """A part for each seed."""
    return [part for name, part in found.items() if name.startswith("untrained")]


def sink_rows(found: dict[str, Any]) -> list[list[str]]:
    """Heads that sink on the first and on the second key, and the drift there as so many times an even share."""
    rows = []
    for arm, part in found.items():
        total = 100 * torch.tensor(part["total"])
        rows.append([arm, *cells(total), *cells(over_even(part)[:, :2])])
    return rows


def over_even(part: dict[str, Any]) -> torch.Tensor:
    """D of a key, mean over the keys of each octave, over what an even spread gives each, [texts, octaves]."""
    return each([part], "by_key")[:, 0, 0] * part["ticks"]["length"][-1] / each([part], "drift")[:, 0, 0, -1:]


def draw(found: dict[str, Any], axes: Any) -> None:
    """D by length; where in a text it is; D by shift."""
    ticks = found["long"][0]["ticks"]
    drift = each(found["long"], "drift")[:, :, 0]
    for m, mode in enumerate(ticks["mode"]):
        line(axes[0], ticks["length"], drift[:, m], mode)
    axes[0].set(xlabel="tokens of the text", ylabel="attention moved, D", xscale="log", yscale="log")
    axes[0].set_xticks(ticks["length"], [str(n) for n in ticks["length"]])
    for arm, part in found["sinks"].items():
        line(axes[1], range(len(part["ticks"]["key"])), over_even(part), arm)
    axes[1].axhline(1.0, color="grey", linewidth=0.8)
    axes[1].set(xlabel="key, and those up to the next", ylabel="D of a key, times an even share")
    axes[1].set_yscale("log", nonpositive="mask")  # of a masked key there is none
    axes[1].set_xticks(range(len(part["ticks"]["key"])), [str(key) for key in part["ticks"]["key"]])
    shifts = found["shifts"]["ticks"]["shift"]
    line(axes[2], range(len(shifts)), each([found["shifts"]], "drift")[:, 0, :, 0], "bf16")
    axes[2].set(xlabel="shift, against one of 16", ylabel="attention moved, D", ylim=(0, None))
    axes[2].set_xticks(range(len(shifts)), [str(shift) for shift in shifts], rotation=60)
    for axis in axes:
        axis.minorticks_off()
        axis.legend(fontsize=7)


def line(axis: Any, places: Sequence[int], values: torch.Tensor, label: str) -> None:
    """Means of [texts, n] over texts, with intervals."""
    means = [mean_of(column.tolist()) for column in values.T]
    axis.errorbar(places, means, [m.bar for m in means], marker="o", markersize=3, capsize=2, label=label)
