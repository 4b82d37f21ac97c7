"""The last keys only, the query's own included (Longformer, Beltagy et al. 2020, arXiv 2004.05150; Mistral, Gemma 3), and with
sinks the first few too (StreamingLLM, Xiao et al. 2023, arXiv 2309.17453; here at their true positions).
"""

from dataclasses import dataclass
from typing import Any

__all__ = ["Sliding"]


@dataclass(frozen=True)
class Sliding:
    """Causal attention to the last `window` keys and the first `sinks`; queries at positions below `since` see every key."""

    window: int
    sinks: int = 0
    since: int = 0

    @property
    def anchored(self) -> bool:
        return bool(self.sinks or self.since)

    def visible(self, q: Any, k: Any) -> Any:
        return (k <= q) & ((k > q - self.window) | (k < self.sinks) | (q < self.since))

    def keep(self, length: int) -> tuple[int, int]:
        return self.sinks, max(self.sinks, length - self.window + 1) if length >= self.since else self.sinks
