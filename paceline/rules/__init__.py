"""Rules: given the target's laws on a tree, which nodes are kept and what comes next. One file each.

A rule is called with (scores, proposal, row) and gives a `Verdict`. One that does not keep the target's law has
`lossless = False`, tells what it spends (`Verdict.spent`), and has `check(request, vocab)`, which raises RequestError for what it
cannot keep.
"""

from typing import Any

__all__ = ["is_lossless"]


def is_lossless(rule: Any) -> bool:
    """What a rule says of itself; one that says nothing promises to be lossless, and the contract tests hold it to that."""
    return bool(getattr(rule, "lossless", True))
