"""Patterns: which earlier keys a query may see, told by positions alone. One file each.

`visible(q, k)`: whether the query at position q sees the key at position k; ints, or tensors that broadcast. `keep(length)`:
which keys a text of so many tokens still has to hold for the queries to come, as (sinks, start): the first `sinks` ones and those
from `start` on. It is monotone: what was let go never comes back, and no later query sees it.
"""

from collections.abc import Mapping
from typing import Any, Protocol

__all__ = ["Pattern", "Plan"]


class Pattern(Protocol):
    """A frozen dataclass: equal patterns are one key of a dictionary, so layers that share one form a group of a cache. anchored:
    whether it tells a text's places apart, and not only how far a key is from its query.
    """

    @property
    def anchored(self) -> bool: ...

    def visible(self, q: Any, k: Any) -> Any: ...

    def keep(self, length: int) -> tuple[int, int]: ...


Plan = Mapping[int, Pattern]  # of one text: the patterns of those layers that see less of it than their model lets them
