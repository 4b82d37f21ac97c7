"""What a round costs: seconds by part, and the most memory there was."""

import resource
import sys
import time

import torch

__all__ = ["Timing", "peak_memory"]


class Timing:
    """Seconds of one round by part, later shared out among the rows it served."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, part: str) -> None:
        now = time.perf_counter()
        self.seconds[part] = self.seconds.get(part, 0.0) + now - self._last
        self._last = now

    def share(self, into: dict[str, float], share: float = 1.0) -> None:
        for part, seconds in self.seconds.items():
            into[part] += seconds * share


def peak_memory() -> int:
    """Most bytes this process (or its accelerator) has held so far."""
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
