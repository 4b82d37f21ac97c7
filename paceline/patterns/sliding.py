"""The last keys only, the query's own included (Longformer, Beltagy et al. 2020, arXiv 2004.05150; Mistral, Gemma 3)."""

from dataclasses import dataclass
from typing import Any

__all__ = ["Sliding"]


@dataclass(frozen=True)
class Sliding:
    """Causal attention to the last `window` keys."""

    window: int

    def visible(self, q: Any, k: Any) -> Any:
        return (k <= q) & (k > q - self.window)

    def keep(self, length: int) -> tuple[int, int]:
        return 0, max(0, length - self.window + 1)
