"""Rivals: other decoders of the same weights, measured in the same run. One family a file, found by walking this folder.

A file is a family by being here. NAMES: its methods, `family/way`. `missing(source)` says why it cannot decode these files here,
"" where it can. `methods(names, terms)` gives those of its methods that are wanted and that the terms allow. `steps(terms)`,
where it has that, shows single forwards (`curve.py`); `logits(terms)` what it thinks of a text (`quality.py`).
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from paceline import plugins
from paceline.bench.methods import Method
from paceline.core.sampling import Sampling
from paceline.errors import RequestError, did_you_mean
from paceline.lm import LM

__all__ = ["EXTRA", "Terms", "at_hand", "check_names", "draft_length", "families", "rivals", "showing"]


EXTRA = "Install what brings it: pip install 'paceline[rivals]'."
SHOWN = {"steps": "single forwards", "logits": "logits of a text"}


@dataclass(frozen=True)
class Terms:
    """On what rivals compete: the files of our target `lm`, and to how many million parameters it was grown; our drafters, whose
    draft lengths they take; how a token is chosen.
    """

    source: str
    lm: LM
    grown: float | None = None
    drafters: tuple[str, ...] = ()
    sampling: Sampling = field(default_factory=Sampling)


def draft_length(drafter: str, options: Mapping[str, str]) -> int:
    """How many tokens a drafter of ours proposes, by the options of its spec."""
    return int(options.get("length", plugins.load("drafter", drafter).__dataclass_fields__["length"].default))


def families() -> dict[str, Any]:
    """Name -> module of every family."""
    return {m.name: importlib.import_module(f"{__name__}.{m.name}") for m in pkgutil.iter_modules(__path__)}


def check_names(wanted: Sequence[str]) -> None:
    """Raise RequestError, with the nearest name, for a rival there is not."""
    known = [name for family, module in families().items() for name in (family, *module.NAMES)]
    for name in wanted:
        if name not in known:
            raise RequestError(f"There is no rival {name!r}.{did_you_mean(name, known)}")


def at_hand(wanted: Sequence[str], source: str, say: Callable[[str], None]) -> tuple[str, ...]:
    """Those that can decode these files here; of each family left out, `say` is told."""
    absent = {family: why for family, module in families().items() if (why := module.missing(source))}
    for family in sorted({name.partition("/")[0] for name in wanted} & absent.keys()):
        say(f"{family} is left out. {absent[family]}")
    return tuple(name for name in wanted if name.partition("/")[0] not in absent)


def rivals(wanted: Sequence[str], terms: Terms) -> list[Method]:
    """The rivals named: whole families or single methods; those that need a draft model only where our drafters bring one.

    Raises RequestError for one that cannot run here.
    """
    check_names(wanted)
    found: list[Method] = []
    for family, module in families().items():
        if names := [name for name in module.NAMES if family in wanted or name in wanted]:
            if why := module.missing(terms.source):
                raise RequestError(f"The rival {family} cannot run here. {why}")
            found += module.methods(names, terms)
    return found


def showing(what: str, wanted: Sequence[str], terms: Terms) -> dict[str, Any]:
    """Of each family named, its `steps` or its `logits`. Raises RequestError for one that cannot run here or has none."""
    found = dict[str, Any]()
    for family, module in families().items():
        if family in wanted:
            if why := module.missing(terms.source):
                raise RequestError(f"The rival {family} cannot run here. {why}")
            if not hasattr(module, what):
                raise RequestError(f"The rival {family} shows no {SHOWN[what]}: leave it out of --against.")
            found[family] = getattr(module, what)(terms)
    return found
