"""Which drafters fit a model and how they work together: `drafter="auto"`, and lists of drafters.

Those that need no model always fit; the embedded draft models where the target is the one they were trained for. What cannot be
built for a model is left out, and it is said why.

Never slower: "auto", and a list of drafters for which nobody named a controller, draft behind an allowance (`allowance.py`). A
single drafter that was named drafts as it was asked to, so that it can be examined, and so that a seed's drafts can be drawn;
`fixed:guarded=true` puts it behind an allowance, too.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paceline import plugins
from paceline.controllers.fixed import Fixed
from paceline.core.protocols import Controller, Drafter
from paceline.drafters._heads import fits
from paceline.drafters.merge import Merge, Merged
from paceline.drafters.none import NoDraft
from paceline.engine.allowance import Guarded, Pool
from paceline.errors import ModelError, PacelineError, SpecError
from paceline.lm import LM
from paceline.lm.load import resolve
from paceline.lm.protocols import CausalLM
from paceline.models.draft_head.shape import shape_of

__all__ = ["AUTO", "arranged", "attached", "check", "controlling", "fitting", "limited", "suited"]

AUTO = "auto"
FREE = "suffix"  # needs no model
MERGED = "merge:drafters=[suffix,glide]"  # instead, where it fits
EMBEDDED = ("cape:inner=glide", "longspec", "small_model:model=zoo:tiny-draft")
GUARDED = "fixed:guarded=true"

log = logging.getLogger("paceline")


def arranged(drafter: Any, controller: Any, lm: LM) -> tuple[list[Drafter], Controller]:
    """The drafters at work on this model, and the controller at work on them. drafter: a spec, an attached drafter, a list of
    them, or "auto". controller: as in `controlling`; None = `fixed`, or `ucb` for several that cannot be merged.
    """
    several = isinstance(drafter, list | tuple)
    drafters = attached([suited(lm)] if drafter == AUTO else drafter if several else [drafter], lm)
    if controller is not None:
        return drafters, controlling(controller, len(drafters), lm)
    if len(drafters) == 1:
        return drafters, controlling(GUARDED if drafter == AUTO else "fixed", 1, lm)
    if any(isinstance(each, Merged | NoDraft) for each in drafters):
        return drafters, controlling("ucb", len(drafters), lm)
    return [Merge(tuple(drafters)).attach(lm)], controlling(GUARDED, 1, lm)


def controlling(spec: Any, drafters: int, lm: LM) -> Controller:
    """A controller at work on so many drafters; one that is at work already stays itself."""
    made = plugins.attached("controller", spec, drafters)
    if not (isinstance(made, Fixed) and made.guarded):
        return made
    lm.costs.ready(made.budget)  # now: in a first round it would pass for a loss
    return Guarded(made, lm.costs.plain, lm.draft_models.setdefault("allowance", Pool()))


def check(spec: str) -> None:
    """Raise SpecError for a spec that names no drafter."""
    if spec != AUTO:
        plugins.make("drafter", spec)


def limited(drafter: Any, budget: int | None) -> str | None:
    """The controller with which this drafter keeps to so many nodes a round; None = the engine's choice."""
    if budget is None:
        return None
    return f"fixed:budget={budget},guarded=true" if drafter == AUTO else f"fixed:budget={budget}"


def suited(lm: LM) -> str:
    """Spec of what "auto" is for this model; nothing is built."""
    return MERGED if is_embedded(lm) else FREE


def fitting(lm: LM) -> list[str]:
    """Specs of all drafters worth trying with this model, each for itself."""
    return list(dict.fromkeys([FREE, "ngram", *(EMBEDDED if is_embedded(lm) else ()), suited(lm)]))


def is_embedded(lm: CausalLM) -> bool:
    """Whether this is the embedded target, as it is or changed only in ways that its draft models bear: grown, tokens added."""
    folder = Path(resolve("zoo:tiny-glide"))
    shape = shape_of(json.loads((folder / "config.json").read_text(encoding="utf-8")), folder)
    if not isinstance(lm, LM) or shape.target != lm.fingerprint:
        return False
    try:
        fits(shape, lm)
    except ModelError:
        return False
    return True


def attached(drafters: Sequence[Any], lm: LM) -> list[Drafter]:
    """Those of the drafters that can be built for this model, at work. Raises the first one's error where none can."""
    if not drafters:
        raise SpecError("Expected a drafter or a list of them, found an empty list; 'none' decodes plainly.")
    made, errors = list[Drafter](), list[PacelineError]()
    for spec in drafters:
        try:
            made.append(plugins.attached("drafter", spec, lm))
        except PacelineError as error:
            errors.append(error)
    if not made:
        raise errors[0]
    for why in errors:
        log.warning("A drafter is left out: %s", why)
    return made
