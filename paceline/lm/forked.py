"""A process that was forked off one in which models have worked: of the threads that share a forward's work none is left there,
and OpenMP would wait for them for ever.
"""

import functools
import os

import torch

__all__ = ["survive_forks"]


@functools.cache
def survive_forks() -> None:
    """Have every process that is forked off from now on work with the one thread it has, torch's own operations included; for
    more, processes are to be spawned. Said once for a process.
    """
    os.register_at_fork(after_in_child=functools.partial(torch.set_num_threads, 1))
