"""Plug-ins by file name: `paceline/<kind>s/<name>.py` IS the registration.

A plug-in file offers one public object, alone in its `__all__`: a function, or a frozen dataclass of options. A spec string
`name:field=value,field=value` names one anywhere (CLI, API, bench, recipes). Brackets protect commas and colons of an inner
spec: `outer:inner=[small_model:model=zoo:tiny-draft]`. This module imports no torch.
"""

import ast
import dataclasses
import functools
import importlib
import pkgutil
import types
import typing
from pathlib import Path
from typing import Any

from paceline.core.checks import short
from paceline.errors import SpecError, did_you_mean

__all__ = ["KINDS", "attached", "fields", "load", "make", "names", "parse", "source", "summary"]

KINDS = ("drafter", "rule", "controller", "pattern", "selector", "probe", "objective", "recipe")
BUILT = {"drafter": ("attach", "propose"), "rule": ("__call__",), "controller": ("attach", "pick")}  # one of these it offers


def folder(kind: str) -> Path:
    """The folder whose files are the plug-ins of this kind."""
    if kind not in KINDS:
        raise SpecError(f"There is no plug-in kind {kind!r}.{did_you_mean(kind, KINDS)}")
    return Path(__file__).parent / f"{kind}s"


def names(kind: str) -> list[str]:
    """All plug-ins of a kind, sorted: the file names of its folder, and `inner/name` for those of a folder within."""
    found = [m for m in pkgutil.iter_modules([str(folder(kind))]) if m.name[0] != "_"]
    inner = [f"{m.name}/{name}" for m in found if m.ispkg for name in _within(folder(kind) / m.name)]
    return sorted([m.name for m in found if not m.ispkg] + inner)


def _within(package: Path) -> list[str]:
    return [m.name for m in pkgutil.iter_modules([str(package)]) if m.name[0] != "_"]


def load(kind: str, name: str) -> Any:
    """The one public object of a plug-in file. Raises SpecError with close matches for an unknown name."""
    if name not in names(kind):
        raise SpecError(f"There is no {kind} {name!r}.{did_you_mean(name, names(kind))}")
    module = importlib.import_module(f"paceline.{kind}s.{name.replace('/', '.')}")
    return getattr(module, module.__all__[0])


def source(kind: str, name: str) -> Path:
    """A plug-in's file: its own, or that of a folder of its name."""
    file = folder(kind) / f"{name}.py"
    return file if file.is_file() else folder(kind) / name / "__init__.py"


def summary(kind: str, name: str) -> str:
    """The first line of the plug-in file's docstring, read without importing it."""
    doc = ast.get_docstring(ast.parse(source(kind, name).read_text(encoding="utf-8")))
    return (doc or "").split("\n")[0]


def parse(spec: str) -> tuple[str, dict[str, str]]:
    """Split a spec string into its name and its options, as text; brackets around a value are taken off."""
    name, _, rest = spec.strip().partition(":")
    options: dict[str, str] = {}
    for part in filter(None, (p.strip() for p in _split(rest, spec))):
        key, equals, value = part.partition("=")
        if not equals or not key.strip():
            raise SpecError(f"In {spec!r}, expected field=value but found {part!r}.")
        if key.strip() in options:
            raise SpecError(f"In {spec!r}, the option {key.strip()!r} is given twice.")
        value = value.strip()
        options[key.strip()] = _bare(value)
    return name.strip(), options


def _split(text: str, spec: str) -> list[str]:
    """Split at commas outside brackets."""
    parts, depth, start = [], 0, 0
    for i, char in enumerate(text):
        depth += (char == "[") - (char == "]")
        if depth < 0:
            break
        if char == "," and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    if depth != 0:
        raise SpecError(f"In {spec!r}, the brackets do not match.")
    return [*parts, text[start:]]


def _bare(value: str) -> str:
    """A value without the brackets that protected it."""
    return value[1:-1] if value[:1] == "[" and value[-1:] == "]" else value


def fields(thing: Any) -> dict[str, Any]:
    """Option name -> annotation of a plug-in object (dataclass fields, or keyword-only arguments of a function)."""
    if dataclasses.is_dataclass(thing):
        hints = typing.get_type_hints(thing)
        return {f.name: hints[f.name] for f in dataclasses.fields(thing) if f.init}
    hints = typing.get_type_hints(thing)
    return {name: hints.get(name, str) for name in (getattr(thing, "__kwdefaults__", None) or {})}


def built(kind: str, thing: Any) -> Any:
    """A plug-in that is built, as it is. Raises SpecError for anything else."""
    if kind in BUILT and (isinstance(thing, type) or not any(hasattr(thing, name) for name in BUILT[kind])):
        raise SpecError(f"A {kind} must be a spec, like {names(kind)[-1]!r}, or one that is built; found {short(thing)}.")
    return thing


def attached(kind: str, spec: Any, to: Any) -> Any:
    """The plug-in a spec names at work on a model, or on a number of drafters; one that is at work already stays as it is."""
    made = make(kind, spec)
    return made.attach(to) if hasattr(made, "attach") else made


def make(kind: str, spec: Any, **extra: Any) -> Any:
    """Build the plug-in a spec names; one that is built already stays as it is.

    `extra` options are given as values and override the spec's text. Raises SpecError for what is no plug-in, unknown names,
    unknown options and values that do not fit the option's annotation.
    """
    if not isinstance(spec, str):
        return built(kind, spec)
    name, texts = parse(spec)
    thing = load(kind, name)
    known = fields(thing)
    for key in [*texts, *extra]:
        if key not in known:
            raise SpecError(f"The {kind} {name!r} has no option {key!r}.{did_you_mean(key, known) or ' It has none.'}")
    values = {key: convert(text, known[key], f"{name}:{key}") for key, text in texts.items()} | extra
    if dataclasses.is_dataclass(thing):
        missing = [f.name for f in dataclasses.fields(thing) if f.init and f.name not in values and _required(f)]
        if missing:
            raise SpecError(f"The {kind} {name!r} needs {missing[0]}: write {name}:{missing[0]}=…")
        return thing(**values)  # type: ignore[operator]
    return functools.partial(thing, **values) if values else thing


def _required(field: dataclasses.Field) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def convert(text: str, kind: Any, where: str) -> Any:
    """Text to the annotated type: int, float, bool, str, tuple/list of these, or X | None."""
    options = typing.get_args(kind)
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        if text.lower() == "none" and type(None) in options:
            return None
        return convert(text, next(o for o in options if o is not type(None)), where)
    if typing.get_origin(kind) is typing.Literal:
        if text not in options:
            raise SpecError(f"{where} must be one of {', '.join(options)}; found {text!r}.")
        return text
    if typing.get_origin(kind) in (tuple, list):
        return typing.get_origin(kind)(convert(_bare(t.strip()), options[0], where) for t in _split(text, text) if t.strip())
    if kind is bool:
        if text.lower() in ("true", "1", "yes", "on"):
            return True
        if text.lower() in ("false", "0", "no", "off"):
            return False
        raise SpecError(f"{where} must be true or false; found {text!r}.")
    try:
        return kind(text) if kind in (int, float) else text
    except ValueError:
        raise SpecError(f"{where} must be {'a whole number' if kind is int else 'a number'}; found {text!r}.") from None
