"""Which drafters fit a model, so that a controller can choose among them: `drafter="auto"`.

Those that need no model always do; the embedded draft models where the target is the one they were trained for. What cannot be
built for a model is left out, and it is said why.
"""

import functools
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from paceline import plugins
from paceline.drafters._heads import fits
from paceline.engine.calibration import Measured, known, read_calibration, unlike
from paceline.errors import DataError, ModelError, PacelineError, SpecError
from paceline.lm import LM
from paceline.lm.load import resolve
from paceline.models.draft_head.shape import shape_of

__all__ = ["AUTO", "attached", "built", "check", "controlling", "fitting", "limited", "listed", "lone", "suited"]

AUTO = "auto"
FREE = ("suffix",)  # tried at once
MERGED = ("merge:drafters=[suffix,glide]",)  # instead, where they fit
EMBEDDED = ("cape:inner=glide", "longspec", "small_model:model=zoo:tiny-draft")

log = logging.getLogger("paceline")


def check(spec: str) -> None:
    """Raise SpecError for a spec that names no drafter."""
    if spec != AUTO:
        plugins.make("drafter", spec)


def limited(drafter: Any, budget: int | None) -> str | None:
    """The controller with which this drafter keeps to so many nodes a round; None = the engine's choice."""
    if budget is None:
        return None
    return f"cost:budgets=[{budget}]" if drafter == AUTO or isinstance(drafter, list) else f"fixed:budget={budget}"


def lone(drafter: Any) -> str:
    """The controller of a drafter that stands alone: what was asked for drafts, what was found for the model has to pay."""
    return "cost" if drafter == AUTO else "fixed"


def listed(drafter: Any, lm: Any) -> list[Any]:
    """A drafter, a list of them, or "auto", as a list."""
    return suited(lm) if drafter == AUTO else list(drafter) if isinstance(drafter, list | tuple) else [drafter]


def controlling(spec: Any, drafters: Sequence[Any], lm: Any = None, alone: str = "fixed") -> Any:
    """A controller at work on these drafters (specs, or attached ones): None = cost for several, `alone` for one; one at work
    already stays itself. What its `calibration` file knows of these specs, with this model on this machine, it begins with.
    """
    made = plugins.make("controller", spec or ("cost" if len(drafters) > 1 else alone))
    if getattr(made, "forwards", None) == () and lm is not None:
        made = replace(made, forwards=lm.costs.rounds(max(made.budgets)))
    if getattr(made, "calibration", None):
        made = informed(made, drafters, lm)
    return made.attach(len(drafters)) if hasattr(made, "attach") else made


def informed(options: Any, drafters: Sequence[Any], lm: Any) -> Any:
    """The options of a cost controller with the priors its calibration file has; without, where the file does not fit."""
    try:
        holds_for, measured = read_calibration(Path(options.calibration))
    except DataError as error:
        ignored(options.calibration, str(error))
        return options
    if why := unlike(holds_for, lm):
        ignored(options.calibration, why)
        return options
    arms, found = options.attach(len(drafters)).arms, known(measured)
    specs = ["none" if arm.budget == 0 else drafters[arm.drafter] for arm in arms]
    priors = [found.get(Measured(s, arm.budget, 1, 1).key) if isinstance(s, str) else None
              for s, arm in zip(specs, arms, strict=True)]
    return replace(options, prior=tuple(priors))


@functools.cache
def ignored(path: str, why: str) -> None:
    """Said once for every file and reason, however many engines are made."""
    log.warning("The calibration %s is ignored: %s. `paceline doctor --save` makes a new one.", path, why)


def suited(lm: LM) -> list[str]:
    """Specs of the drafters that "auto" takes for this model; none of them is built."""
    return [*(MERGED if is_embedded(lm) else FREE)]


def fitting(lm: LM) -> list[str]:
    """Specs of all drafters worth trying with this model, each for itself."""
    return list(dict.fromkeys([*FREE, "ngram", *(EMBEDDED if is_embedded(lm) else ()), *suited(lm)]))


def is_embedded(lm: Any) -> bool:
    """Whether this is the embedded target, as it is or changed only in ways that its draft models bear: grown, tokens added."""
    folder = Path(resolve("zoo:tiny-glide"))
    shape = shape_of(json.loads((folder / "config.json").read_text(encoding="utf-8")), folder)
    if not hasattr(lm, "text_config") or shape.target != lm.fingerprint:
        return False
    try:
        fits(shape, lm)
    except ModelError:
        return False
    return True


def attached(drafters: Sequence[Any], lm: LM) -> list[Any]:
    """Those of the drafters that can be built for this model, at work. Raises the first one's error where none can."""
    return built(drafters, lm)[1]


def built(drafters: Sequence[Any], lm: LM) -> tuple[list[Any], list[Any]]:
    """The drafters that can be built for this model, as they were named, and at work. Raises as `attached` does."""
    if not drafters:
        raise SpecError("Expected a drafter or a list of them, found an empty list; 'none' decodes plainly.")
    named, made, errors = list[Any](), list[Any](), list[PacelineError]()
    for spec in drafters:
        try:
            options = plugins.make("drafter", spec)
            if hasattr(options, "drafters"):  # one that merges others takes those that stand here themselves
                here = {spec: drafter for spec, drafter in zip(named, made, strict=True) if isinstance(spec, str)}
                options = replace(options, drafters=tuple(here.get(each, each) for each in options.drafters))
            made.append(options.attach(lm) if hasattr(options, "attach") else options)
            named.append(spec)
        except PacelineError as error:
            errors.append(error)
    if not made and errors:
        raise errors[0]
    for why in errors:
        log.warning("A drafter is left out: %s", why)
    return named, made
