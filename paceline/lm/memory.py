"""Tell the C allocator to keep freed memory.

Large tensors are mapped fresh from the kernel and handed back on release, so every step of a loop pays page faults for
the same buffers again. Keeping them made a training step of 8,192 tokens about five times faster on two cores.
"""

from __future__ import annotations

import ctypes
from functools import lru_cache

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEEP_BYTES = 1 << 30  # glibc takes an int; buffers up to 1 GiB come from the heap and stay there


@lru_cache(maxsize=1)
def keep_memory() -> bool:
    """Set glibc's mmap and trim thresholds high, once per process; True if it took effect.

    Does nothing (returns False) where the C library has no ``mallopt``: macOS, Windows, musl. The price is that a
    process keeps its peak memory until it ends.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _KEEP_BYTES)) and bool(mallopt(_M_TRIM_THRESHOLD, 2**31 - 1))
