"""A forked process works, with the one thread it has."""

from __future__ import annotations

import os
import signal
import warnings

import pytest
import torch

import paceline
from paceline.testing import tiny_lm


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_of_a_process_with_threads_decodes() -> None:
    """The parent has a team of two; the child would wait for the second one for ever."""
    lm, before = tiny_lm(), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        wanted = worked(lm)
        with warnings.catch_warnings(action="ignore"):
            child = os.fork()
        if child == 0:
            signal.alarm(20)  # ends a child that hangs
            os._exit(0 if worked(lm) == wanted and torch.get_num_threads() == 1 else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def worked(lm: paceline.LM) -> tuple[list[int], bool]:
    """A text, and whether a sum that all threads share is right."""
    shared = float(torch.ones(1 << 20, dtype=torch.float32).exp().log().sum()) > 0
    return paceline.generate(lm, [5, 6, 7], max_new_tokens=8)[0].tokens, shared
