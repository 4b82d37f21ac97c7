"""Turns frozen dataclasses into command-line flags: one field, one flag. Knows nothing of what a verb does with them.

A verb is a function whose arguments are dataclasses, `def generate(options: Options, sampling: Sampling)`. Its flags
are their fields, in order; what typer calls is a wrapper with all of them as its signature, which builds the
dataclasses again.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

import typer

from paceline.core.flags import flag_of

__all__ = ["Helps", "argument", "as_command", "flag"]

Helps = Mapping[str, Mapping[str, str]]
KEYWORD = inspect.Parameter.KEYWORD_ONLY


def flag(default: Any, help: str, *names: str) -> Any:
    """A dataclass field that is an option `--field-name`; `names` adds or replaces spellings, a list repeats."""
    return _field(default, typer.Option(*names, help=help))


def argument(default: Any, help: str, name: str | None = None) -> Any:
    """A dataclass field given by position."""
    return _field(default, typer.Argument(help=help, metavar=name))


def _field(default: Any, info: Any) -> Any:
    kind = {"default_factory": lambda: list(default)} if isinstance(default, list) else {"default": default}
    return dataclasses.field(metadata={"flag": info}, **kind)


LIBRARY_HELP = {
    "Sampling": {
        "temperature": "0 decodes greedily; above 0 samples.",
        "top_k": "Keep only the k likeliest tokens; 0 keeps all.",
        "top_p": "Keep the likeliest tokens that hold this much probability together.",
        "min_p": "Keep tokens at least this likely relative to the likeliest.",
        "repetition_penalty": "Divide (or multiply) the scores of tokens that have occurred; 1 is off.",
        "presence_penalty": "Subtract this from tokens that have been written.",
        "frequency_penalty": "Subtract this for every time a token has been written.",
        "logit_bias": "Add to one token's score, as TOKEN_ID=VALUE; may be given again.",
        "seed": "Seed of the sampling; the same seed gives the same text whatever else is in the batch.",
        "logprobs": "Report log-probabilities of the written tokens and of this many others (in --json).",
    }
}


def as_command(verb: Callable[..., None], helps: Helps | None = None) -> Callable[..., None]:
    """The function typer shall call for a verb: a flag for every field of the verb's dataclass arguments.

    A field brings its flag in its metadata (`flag`, `argument`); for the library's own dataclasses, which know no
    terminal, `helps` gives class name -> field -> help, and fields it does not list are left at their defaults.
    """
    hints = {name: hint for name, hint in typing.get_type_hints(verb).items() if name != "return"}
    holders = {name: hint for name, hint in hints.items() if dataclasses.is_dataclass(hint)}
    passed = [inspect.Parameter(n, KEYWORD, annotation=hint) for n, hint in hints.items() if n not in holders]
    groups = {name: list(_parameters(holder, helps or LIBRARY_HELP)) for name, holder in holders.items()}

    def call(**values: Any) -> None:
        built = {name: _build(holder, {p.name: values[p.name] for p in groups[name]}) for name, holder in holders.items()}
        verb(**built, **{p.name: values[p.name] for p in passed})

    flat = passed + [parameter for group in groups.values() for parameter in group]
    call.__signature__ = inspect.Signature(flat)  # type: ignore[attr-defined]
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in flat}
    call.__doc__ = verb.__doc__
    return call


def _parameters(holder: Any, helps: Helps) -> Iterator[inspect.Parameter]:
    hints = typing.get_type_hints(holder)
    for field in dataclasses.fields(holder):
        described = helps.get(holder.__name__, {}).get(field.name)
        info = field.metadata.get("flag") or (None if described is None else typer.Option(help=described))
        if info is not None:
            kind, default = _as_flag(hints[field.name], _default(field))
            yield inspect.Parameter(field.name, KEYWORD, default=default, annotation=Annotated[kind, info])


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default


def _as_flag(kind: Any, default: Any) -> tuple[Any, Any]:
    """Annotation and default as typer knows them: tuples and mappings become options that may be given again."""
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple and inner[-1:] == (Ellipsis,):
        return list[inner[0]], list(default)  # type: ignore[valid-type]
    if origin in (dict, Mapping):
        return list[str], [f"{key}={value}" for key, value in default.items()]
    return kind, default


def _build(holder: Any, values: dict[str, Any]) -> Any:
    hints = typing.get_type_hints(holder)
    return holder(**{name: _from_flag(name, hints[name], value) for name, value in values.items()})


def _from_flag(name: str, kind: Any, value: Any) -> Any:
    origin = typing.get_origin(kind)
    if origin is tuple and isinstance(value, list):
        return tuple(value)
    if origin in (dict, Mapping) and isinstance(value, list):
        return dict(_pair(name, text) for text in value)
    return value


def _pair(name: str, text: str) -> tuple[int, float]:
    key, _, value = text.partition("=")
    try:
        return int(key), float(value)
    except ValueError:
        raise typer.BadParameter(f"{flag_of(name)} takes TOKEN_ID=VALUE, like 17=-2.5; found {text!r}.") from None
