"""A line chart as inline SVG, drawn here: no library, no file beside it. Knows nothing of what it shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

__all__ = ["COLOURS", "chart"]

COLOURS = ("#0b7285", "#d9480f", "#5f3dc4", "#2b8a3e", "#c2255c", "#846358", "#1864ab", "#868e96")  # told apart in grey too
WIDTH, HEIGHT = 560, 300
LEFT, RIGHT, TOP, BOTTOM = 60, 18, 12, 40
MOST = 16  # labels along x
Line = Mapping[float, float]


def chart(lines: Mapping[str, Line], x_label: str, y_label: str, log: bool = False, top: float | None = None,
          decades: bool = False) -> str:
    """Lines by name, x -> y; y from 0 up. log: x by powers of two. top: where y ends; None = as the lines need it. decades: y by
    powers of ten instead, for values above 0.
    """
    points = [(x, y) for line in lines.values() for x, y in line.items()]
    if not points:
        return "<p>Nothing to draw.</p>"
    xs = sorted({x for x, _ in points})
    ticks = _decades([y for _, y in points]) if decades else [(top or nice(max(y for _, y in points))) * i / 4 for i in range(5)]
    low, span = _across(xs[0], log), max(_across(xs[-1], log) - _across(xs[0], log), 1e-9)
    base, rise = _up(ticks[0], decades), _up(ticks[-1], decades) - _up(ticks[0], decades)

    def at(x: float, y: float) -> tuple[float, float]:
        across, up = (_across(x, log) - low) / span, (_up(y, decades) - base) / rise
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    parts = [_grid(at, xs, ticks), _labels(x_label, y_label)]
    for i, line in enumerate(lines.values()):
        parts.append(_line([at(x, y) for x, y in sorted(line.items())], COLOURS[i % len(COLOURS)], i // len(COLOURS)))
    label = escape(f"{y_label} against {x_label}")
    return (f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'
            f'<p class="legend">{_legend(list(lines))}</p>')


def nice(value: float) -> float:
    """The next of 1, 2, 2.5, 5, 10 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(max(value, 1e-9)))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value * 0.999)


def _decades(values: Sequence[float]) -> list[float]:
    """Powers of ten around values above 0."""
    low, high = (round_(math.log10(of(values))) for round_, of in ((math.floor, min), (math.ceil, max)))
    return [10.0**power for power in range(low, max(high, low + 1) + 1)]


def _across(x: float, log: bool) -> float:
    return math.log2(max(x, 1e-9)) if log else x


def _up(y: float, decades: bool) -> float:
    return math.log10(y) if decades else y


def _grid(at: Callable[[float, float], tuple[float, float]], xs: Sequence[float], ticks: Sequence[float]) -> str:
    out = []
    for y in ticks:
        left, height = at(xs[0], y)
        out.append(f'<line class="grid" x1="{left:.1f}" x2="{WIDTH - RIGHT}" y1="{height:.1f}" y2="{height:.1f}"/>'
                   f'<text x="{LEFT - 6}" y="{height + 4:.1f}" text-anchor="end">{y:g}</text>')
    for x in xs[:: 1 + (len(xs) - 1) // MOST]:
        across, base = at(x, ticks[0])
        out.append(f'<text x="{across:.1f}" y="{base + 16:.1f}" text-anchor="middle">{x:g}</text>')
    return "".join(out)


def _labels(x_label: str, y_label: str) -> str:
    middle = TOP + (HEIGHT - TOP - BOTTOM) / 2
    return (f'<text x="{LEFT + (WIDTH - LEFT - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>'
            f'<text transform="translate(12 {middle}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>')


def _line(points: Sequence[tuple[float, float]], colour: str, again: int) -> str:
    """A line with dots; dashed where its colour is used again."""
    path, dash = " ".join(f"{x:.1f},{y:.1f}" for x, y in points), ' stroke-dasharray="5 3"' if again else ""
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dash}/>{dots}'


def _legend(names: Sequence[str]) -> str:
    marks = [(COLOURS[i % len(COLOURS)], " (dashed)" if i >= len(COLOURS) else "") for i in range(len(names))]
    return " ".join(f'<span><i style="background:{colour}"></i>{escape(name)}{dashed}</span>'
                    for name, (colour, dashed) in zip(names, marks, strict=True))
