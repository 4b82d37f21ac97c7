"""Selectors: what of a cache matters. One file each, of two kinds.

A function scores keys: `select(trace, layer, keys)` gives [G or 1, n], and whoever asks keeps the best ones of that layer. A
dataclass with a method `select` chooses whole layers: it gives a `Plan` (`patterns/`), by which some layers see few keys and the
others all.
"""

from typing import Any, Protocol

from paceline import plugins
from paceline.core.trace import Trace
from paceline.errors import SpecError
from paceline.lm.kv import Slot
from paceline.patterns import Plan

__all__ = ["LayerSelector", "choosing_layers"]


class LayerSelector(Protocol):
    """last: of how many of a prompt's last tokens it wants to see the queries. early: it is asked when so many tokens of a prompt
    are read, in whole chunks; None = all.
    """

    @property
    def last(self) -> int: ...

    @property
    def early(self) -> int | None: ...

    def select(self, trace: Trace, slot: Slot, since: int = 0) -> Plan:
        """Of the text in `slot`, by what was asked there; queries at positions below `since` see every key."""
        ...


def choosing_layers(spec: Any) -> LayerSelector:
    """The selector that a spec names. Raises SpecError for one that scores keys."""
    made = plugins.make("selector", spec)
    if not hasattr(made, "select"):
        fitting = [name for name in plugins.names("selector") if hasattr(plugins.load("selector", name), "select")]
        raise SpecError(f"A plan needs a selector that chooses layers ({', '.join(fitting)}); {spec!r} scores keys, which "
                        "sparse_self takes.")
    return made
