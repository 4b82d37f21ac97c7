"""Flags for what a text must look like, and the grammar they make."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import typer

from paceline import Grammar
from paceline.cli._flags import flag
from paceline.errors import RequestError

__all__ = ["Structure"]


@dataclass(frozen=True)
class Structure:
    """At most one kind of grammar."""

    json_schema: str | None = flag(None, "Write JSON that this schema allows: a file, or the schema itself.")
    regex: str | None = flag(None, "Write text that this regular expression matches as a whole.")
    choice: list[str] = flag([], "Write this text or another --choice; may be given again.")

    def grammar(self) -> Grammar | None:
        """The grammar asked for, if any."""
        if sum(bool(given) or given == "" for given in (self.json_schema, self.regex, self.choice)) > 1:
            raise typer.BadParameter("--json-schema, --regex and --choice are three ways to say what to write; give one.")
        try:
            if self.json_schema is not None:
                return Grammar.json_schema(_schema(self.json_schema))
            if self.regex is not None:
                return Grammar.regex(self.regex)
            return Grammar.choice(self.choice) if self.choice else None
        except RequestError as error:
            raise typer.BadParameter(str(error)) from None


def _schema(given: str) -> str:
    """The schema's text: as given where it looks like one, else the file's."""
    if given.lstrip()[:1] in ("{", "[", '"'):
        return given
    try:
        return Path(given).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise typer.BadParameter(f"--json-schema {given}: {why}. Give a file with a JSON schema, or the schema itself.") from None
