"""The doctor's report as one page of HTML, complete in itself: verdict, table, reasons, costs and acceptance as plots."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Any

from paceline.doctor.plot import chart
from paceline.doctor.report import COLUMNS, caption, closing, rows

__all__ = ["page"]

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
body { color: #212529; background: #fff }
h1 { font-size: 1.3rem } h2 { font-size: 1.05rem; margin-top: 2rem } .verdict { font-size: 1.15rem; font-weight: 600 }
.yes { border-left: 6px solid #2b8a3e; padding-left: .8rem } .no { border-left: 6px solid #868e96; padding-left: .8rem }
.unsure { border-left: 6px dotted #e67700; padding-left: .8rem }
.wide { overflow-x: auto } table { border-collapse: collapse; width: 100% }
td, th { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid #dee2e6; white-space: nowrap }
td:first-child, th:first-child { text-align: left }
pre { background: #f1f3f5; padding: .6rem; overflow-x: auto; font-size: .85rem }
svg { width: 100%; height: auto } svg text { font-size: 11px; fill: #495057 } .grid { stroke: #dee2e6 }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1.5rem }
.legend span { margin-right: 1rem; font-size: .85rem } 
.legend i { display: inline-block; width: .8rem; height: .8rem; margin-right: .3rem }
.small { font-size: .85rem; color: #495057 }
"""


def page(report: dict[str, Any]) -> str:
    """The whole page; it loads nothing."""
    name = escape(report["settings"]["model"])
    return "\n".join([
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        f"<title>Can drafting help {name}?</title><style>{STYLE}</style></head><body>",
        f"<h1>Can speculative decoding help {name} here?</h1>", *_verdicts(report), *_plots(report),
        *(f'<p class="small">{escape(line)}</p>' for line in [*closing(report), caption(report)]), "</body></html>", "",
    ])  # fmt: skip


def _verdicts(report: dict[str, Any]) -> Iterator[str]:
    for verdict in report["verdicts"]:
        mark = "yes" if verdict["pays"] else "no" if verdict["sure"] else "unsure"
        yield f'<p class="verdict {mark}">{escape(verdict["sentence"])}</p>'
        yield _table(report, verdict["rows"])
        yield "<ul>" + "".join(f"<li>{escape(reason)}</li>" for reason in verdict["reasons"]) + "</ul>"
        if verdict["settings"]:
            yield "<h2>What to type</h2><p class='small'>Elsewhere forwards cost something else: measure there too.</p>"
        for engine, line in verdict["settings"].items():
            yield f"<p class='small'>{escape(engine)}</p><pre>{escape(line)}</pre>"


def _table(report: dict[str, Any], together: int) -> str:
    head = "".join(f"<th>{column}</th>" for column in COLUMNS)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows(report, together))
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _plots(report: dict[str, Any]) -> list[str]:
    """What forwards cost, and how often each depth was accepted."""
    curves = {f"{rows} row{'s' if rows != '1' else ''}": {float(n): v for n, v in line.items()}
              for rows, line in report["cost"]["relative"].items()}
    several = len(report["verdicts"]) > 1
    depths = {f"{c['drafter']}, budget {c['budget']}" + (f", {c['rows']} rows" if several else ""):
              {float(i + 1): share for i, share in enumerate(c["accept_per_position"])} for c in report["candidates"]}
    return [
        '<div class="plots"><div><h2>What a forward costs</h2>',
        chart(curves, "tokens of each row in one forward", "plain steps", log=True),
        f'<p class="small">Behind {report["cost"]["prefix"]} tokens of text.</p></div>',
        "<div><h2>How often a drafted token is accepted</h2>",
        chart({name: line for name, line in depths.items() if line}, "depth in the draft", "share of rounds", top=1.0),
        "</div></div>",
    ]
