"""Probes: what attention does, in numbers. One file each.

A probe is a frozen dataclass of options. `start(subject)` begins to look at a model; what it gives is shown texts, one after the
other, layer by layer (`Watch`), and then asked for its `Reading`. Whatever it keeps is small: nothing of size T x T.
"""

from typing import Protocol

from paceline.core.reading import Reading
from paceline.lm.trace import Subject, Watch

__all__ = ["Probe", "Reading", "Subject", "Watch"]


class Probe(Protocol):
    """Raises ModelError from `start` for a model of which it can say nothing, with the reason in one sentence."""

    def start(self, subject: Subject) -> Watch: ...
