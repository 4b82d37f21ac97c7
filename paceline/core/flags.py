"""How settings are said on the command line: one field of a dataclass, one flag. Knows no terminal."""

from dataclasses import fields
from typing import Any, TypeVar

__all__ = ["flag_of", "settings", "words"]

T = TypeVar("T")
SINGULAR = {"drafters": "drafter", "tasks": "task", "budgets": "budget"}  # their flags are given once for each value


def flag_of(field: str) -> str:
    """`max_new_tokens` is `--max-new-tokens`, `drafters` is `--drafter`."""
    return "--" + SINGULAR.get(field, field).replace("_", "-")


def words(config: Any) -> list[str]:
    """The flags that give these settings: those of every field that differs from its default."""
    said = []
    for field in fields(config):
        value, flag = getattr(config, field.name), flag_of(field.name)
        if value == field.default:
            continue
        if isinstance(value, bool):
            said.append(flag if value else flag.replace("--", "--no-", 1))
        else:
            said += [f"{flag} {v:g}" if isinstance(v, float) else f"{flag} {v}" for v in _several(value)]
    return said


def settings(kind: type[T], options: Any, **instead: Any) -> T:
    """A `kind` from what the flags gave: `options` has an attribute for each flag, None = its own default. instead: fields that
    are given otherwise.
    """
    given = {f.name: getattr(options, SINGULAR.get(f.name, f.name)) for f in fields(kind)} | instead  # type: ignore[arg-type]
    said = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    return kind(**{name: value for name, value in said.items() if value is not None})


def _several(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else (value,)
