"""Renders into the pages that ask: the plug-in catalogue (`<!-- catalogue -->`) and the public names (`<!-- api -->`), from their
docstrings, and `accelerate`'s keywords (`<!-- keywords -->`), from the table that it decodes by.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import paceline
from paceline import plugins
from paceline.cli.plugins import catalogue
from paceline.integrations.transformers.keywords import KEYWORDS, REFUSED, STOCK

ROOT = Path(__file__).resolve().parents[1]


def on_page_markdown(markdown: str, **_: Any) -> str:
    """mkdocs calls this for every page before it is rendered."""
    contributing = partial((ROOT / "CONTRIBUTING.md").read_text, encoding="utf-8")
    sources = {"<!-- catalogue -->": render, "<!-- contributing -->": contributing, "<!-- api -->": api,
               "<!-- keywords -->": keywords}
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
    source = plugins.source(kind, entry["name"]).read_text(encoding="utf-8")
    words = inspect.cleandoc(ast.get_docstring(ast.parse(source)) or "")
    thing = plugins.load(kind, entry["name"])
    explained = inspect.getdoc(getattr(thing, "Config", thing)) or ""
    options = "\n".join(f"| `{name}` | `{default}` |" for name, default in entry["options"].items())
    table = f"\n| option | default |\n|---|---|\n{options}\n" if options else ""
    paper = f"\nPaper: {entry['paper']}\n" if entry["paper"] else ""
    return f"### `{entry['name']}`\n\n{words}\n\n{explained}\n{table}{paper}"


def api() -> str:
    """One section a kind of public name, one entry a name."""
    names = {name: getattr(paceline, name) for name in sorted(paceline.__all__)}
    errors = [name for name, thing in names.items() if inspect.isclass(thing) and issubclass(thing, Exception)]
    functions = [name for name, thing in names.items() if inspect.isfunction(thing)]
    kinds = {"Functions": functions, "Classes": sorted(set(names) - {*errors, *functions}), "Errors": errors}
    return "\n".join(f"## {kind}\n\n" + "\n".join(_public(name, names[name]) for name in kinds[kind]) for kind in kinds)


def _public(name: str, thing: Any) -> str:
    """A function's signature and words; a class's, and those of its public methods and properties that have any."""
    entry = f"### {name}\n\n{_signature(name, thing)}{inspect.getdoc(thing)}\n"
    members = vars(thing).items() if inspect.isclass(thing) else ()
    return entry + "".join(_member(key, member) for key, member in members if key[0] != "_" and inspect.getdoc(member))


def _member(name: str, member: Any) -> str:
    if isinstance(member, classmethod | staticmethod):
        member = member.__func__
    words = inspect.getdoc(member) or ""
    if inspect.isfunction(member):
        return f"\n#### {name}\n\n{_signature(name, member)}{words}\n"
    return f"\n#### {name}\n\n{words}\n" if isinstance(member, property | cached_property) else ""


def _signature(name: str, thing: Any) -> str:
    """The call as the source has it; nothing for exceptions, which people catch and do not make."""
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return ""
    [node] = ast.parse(textwrap.dedent(inspect.getsource(thing))).body
    assert isinstance(node, ast.ClassDef | ast.FunctionDef)
    returns = f" -> {ast.unparse(node.returns)}" if isinstance(node, ast.FunctionDef) and node.returns else ""
    call = textwrap.fill(f"{name}({_arguments(node)}){returns}", 100, subsequent_indent="    ", break_on_hyphens=False)
    return f"```python\n{call}\n```\n\n"


def _arguments(node: ast.ClassDef | ast.FunctionDef) -> str:
    """Of a function, of a class's __init__, or the fields of a dataclass."""
    if isinstance(node, ast.FunctionDef):
        return re.sub(r"^(self|cls)(, )?", "", ast.unparse(node.args))
    init = next((part for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"), None)
    return _arguments(init) if init else ", ".join(ast.unparse(part) for part in node.body if isinstance(part, ast.AnnAssign))
