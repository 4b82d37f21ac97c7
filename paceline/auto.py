"""Which drafters fit a model, so that a controller can choose among them: `drafter="auto"`.

Those that need no model always do; the embedded draft models where the target is the one they were trained for. What cannot be
built for a model is left out, and it is said why.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paceline import plugins
from paceline.errors import PacelineError, SpecError
from paceline.lm import LM
from paceline.lm.head_shape import fingerprint
from paceline.lm.load import resolve

__all__ = ["AUTO", "attached", "check", "controlling", "limited", "listed", "suited"]

AUTO = "auto"
FREE = ("ngram", "suffix")
EMBEDDED = ("cape:inner=glide", "small_model:model=zoo:tiny-draft")

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


def listed(drafter: Any, lm: Any) -> list[Any]:
    """A drafter, a list of them, or "auto", as a list."""
    return suited(lm) if drafter == AUTO else drafter if isinstance(drafter, list) else [drafter]


def controlling(spec: Any, drafters: int) -> Any:
    """A controller at work on so many drafters: None = fixed for one, cost for several; one at work already stays itself."""
    made = plugins.make("controller", spec or ("cost" if drafters > 1 else "fixed"))
    return made.attach(drafters) if hasattr(made, "attach") else made


def suited(lm: LM) -> list[str]:
    """Specs of the drafters worth trying with this model; none of them is built."""
    return [*FREE, *(EMBEDDED if is_embedded(lm) else ())]


def is_embedded(lm: Any) -> bool:
    """Whether this is the embedded target, as it is or grown."""
    if not hasattr(lm, "text_config"):
        return False
    shape = json.loads((Path(resolve("zoo:tiny-glide")) / "config.json").read_text(encoding="utf-8"))["paceline"]
    return bool(fingerprint(lm.model) == shape["target"])


def attached(drafters: Sequence[Any], lm: LM) -> list[Any]:
    """Those of the drafters that can be built for this model, at work. Raises the first one's error where none can."""
    if not drafters:
        raise SpecError("Expected a drafter or a list of them, found an empty list; 'none' decodes plainly.")
    made, errors = [], list[PacelineError]()
    for spec in drafters:
        try:
            options = plugins.make("drafter", spec)
            made.append(options.attach(lm) if hasattr(options, "attach") else options)
        except PacelineError as error:
            errors.append(error)
    if not made and errors:
        raise errors[0]
    for why in errors:
        log.warning("A drafter is left out: %s", why)
    return made
