"""Renders the plug-in catalogue into the page that asks for it with `<!-- catalogue -->`: the docstrings are the
source. So are `accelerate`'s keywords (`<!-- keywords -->`), from the table that it decodes by.
"""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from typing import Any

from paceline import plugins
from paceline.cli.plugins import catalogue
from paceline.native_table import KEYWORDS, REFUSED, STOCK

ROOT = Path(__file__).resolve().parents[1]


def on_page_markdown(markdown: str, **_: Any) -> str:
    """mkdocs calls this for every page before it is rendered."""
    sources = {"<!-- catalogue -->": render, "<!-- keywords -->": keywords,
               "<!-- contributing -->": (ROOT / "CONTRIBUTING.md").read_text}
    for mark, source in sources.items():
        if mark in markdown:
            markdown = markdown.replace(mark, source())
    return markdown


def render() -> str:
    """One section a kind, one entry a plug-in: its docstring, its options with their defaults, its paper."""
    parts = []
    for kind, entries in catalogue().items():
        parts.append(f"## {kind.capitalize()}s\n")
        parts += [_entry(kind, entry) for entry in entries]
    return "\n".join(parts)


def keywords() -> str:
    """A table of `generate`'s keywords: decoded exactly, left to transformers, or refused."""
    rows = []
    for name, verdict in sorted(KEYWORDS.items()):
        harmless = [f"`{value}`" for value in (STOCK | REFUSED).get(name, ()) if value is not None]
        rows.append(f"| `{name}` | {verdict}{', but for ' + ' and '.join(harmless) if harmless else ''} |")
    return "\n".join(["| keyword | what `accelerate` does |", "|---|---|", *rows])


def _entry(kind: str, entry: dict[str, Any]) -> str:
    source = (plugins.folder(kind) / f"{entry['name']}.py").read_text(encoding="utf-8")
    words = inspect.cleandoc(ast.get_docstring(ast.parse(source)) or "")
    thing = plugins.load(kind, entry["name"])
    explained = inspect.getdoc(getattr(thing, "Config", thing)) or ""
    options = "\n".join(f"| `{name}` | `{default}` |" for name, default in entry["options"].items())
    table = f"\n| option | default |\n|---|---|\n{options}\n" if options else ""
    paper = f"\nPaper: {entry['paper']}\n" if entry["paper"] else ""
    return f"### `{entry['name']}`\n\n{words}\n\n{explained}\n{table}{paper}"
