"""`paceline plugins`: every plug-in there is, by kind, with its one-line summary and paper."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paceline import plugins as registry
from paceline.cli._flags import argument, flag
from paceline.cli._output import check_writable, write_json
from paceline.errors import SpecError, did_you_mean

__all__ = ["plugins"]


@dataclass(frozen=True)
class Options:
    """What `paceline plugins` may be told."""

    kind: str | None = argument(None, "Only this kind: drafter, rule, controller, recipe, …", "[KIND]")
    json: str | None = flag(None, "Write the list to a file, or to the terminal with -.")


def plugins(options: Options) -> None:
    """List the plug-ins by kind. `drafter` plug-ins go with --drafter, `rule` with --rule, and so on."""
    check_writable(options.json)
    found = catalogue(options.kind)
    if options.json:
        write_json(found, options.json)
    if options.json != "-":
        _print(found)


def catalogue(kind: str | None = None) -> dict[str, list[dict[str, Any]]]:
    """Kind -> its plug-ins, each with name, summary, options and paper, read from the files' own words."""
    if kind is not None and kind.removesuffix("s") not in registry.KINDS:
        raise SpecError(f"There is no plug-in kind {kind!r}.{did_you_mean(kind, registry.KINDS)}")
    wanted = registry.KINDS if kind is None else (kind.removesuffix("s"),)
    return {k: [entry(k, name) for name in registry.names(k)] for k in wanted if registry.names(k)}


def entry(kind: str, name: str) -> dict[str, Any]:
    """One plug-in: its name, first docstring line, options with their defaults, and the paper its docstring names."""
    return {
        "name": name,
        "summary": registry.summary(kind, name),
        "options": options_of(kind, name),
        "paper": paper_of(registry.source(kind, name)),
    }


def options_of(kind: str, name: str) -> dict[str, str]:
    """Option -> its default as text, `required` where it has none."""
    thing = registry.load(kind, name)
    thing = getattr(thing, "Config", thing)
    if not dataclasses.is_dataclass(thing):
        return {key: repr(value) for key, value in (getattr(thing, "__kwdefaults__", None) or {}).items()}
    return {field.name: default_of(field) for field in dataclasses.fields(thing) if field.init}


def default_of(field: dataclasses.Field[Any]) -> str:
    """A field's default as text, `required` where it has none."""
    if field.default_factory is not dataclasses.MISSING:
        return repr(field.default_factory())
    if field.default is dataclasses.MISSING:
        return "required"
    return str(field.default) if isinstance(field.default, Path) else repr(field.default)


def paper_of(path: Path) -> str:
    """The paper a file names: the first arXiv number in it, else the first "(Author year)", else an empty string."""
    text = path.read_text(encoding="utf-8")
    if match := re.search(r"arXiv[: ]*(\d{4}\.\d{4,5})", text):
        return f"arXiv {match[1]}"
    match = re.search(r"\(([A-Z][^()]* (?:19|20)\d\d)\b[^()]*\)", text)
    return match[1] if match else ""


def _print(found: dict[str, list[dict[str, Any]]]) -> None:
    from rich.table import Table

    from paceline.bench.report import wide_console

    console = wide_console()
    for kind, entries in found.items():
        table = Table(title=f"{kind}s", title_justify="left", box=None, pad_edge=False)
        for column in ("name", "what it does", "options", "paper"):
            table.add_column(column)
        for e in entries:
            table.add_row(e["name"], e["summary"], ", ".join(f"{k}={v}" for k, v in e["options"].items()), e["paper"])
        console.print(table, "")
