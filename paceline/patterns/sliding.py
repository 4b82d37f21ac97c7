"""The last keys only, the query's own included (Longformer, Beltagy et al. 2020, arXiv 2004.05150; Mistral, Gemma 3), and with
sinks the first few too (StreamingLLM, Xiao et al. 2023, arXiv 2309.17453; here at their true positions).
"""

from dataclasses import dataclass
from typing import Any

__all__ = ["Sliding"]


@dataclass(frozen=True)
class Sliding:
    """Causal attention to the last `window` keys and the first `sinks`."""

    window: int
    sinks: int = 0

    def visible(self, q: Any, k: Any) -> Any:
        return (k <= q) & ((k > q - self.window) | (k < self.sinks))

    def keep(self, length: int) -> tuple[int, int]:
        return self.sinks, max(self.sinks, length - self.window + 1)
