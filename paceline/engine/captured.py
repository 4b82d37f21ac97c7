"""What a drafter may see of the forwards that run anyway: it names in `captures` what it wants, and finds it in its row.

topk_logits: ids of the likeliest tokens at the root and at every node, [N + 1, 8]. queries: what attention asked at the root and
at the accepted nodes (a `Trace`); of a prompt, at the tokens that the request keeps (`Row.trace`).
"""

from collections.abc import Collection, Sequence
from typing import Any

import torch

from paceline.core.proposal import Verdict
from paceline.core.sampling import Scores
from paceline.core.trace import Trace

__all__ = ["captured"]

LIKELIEST = 8


def captured(wanted: Collection[str], scores: Scores, verdict: Verdict, queries: Sequence[torch.Tensor]) -> dict[str, Any]:
    """What was shown to one row: of its scores, and of its queries [H, T, D] in every layer."""
    found: dict[str, Any] = {}
    if "topk_logits" in wanted:
        found["topk_logits"] = scores.likeliest(LIKELIEST)
    if "queries" in wanted and queries:
        first, path = len(scores.row.tokens) - 1, [0, *(node + 1 for node in verdict.path)]
        found["queries"] = trace = Trace()
        trace.add([q[:, path] for q in queries], range(first, first + len(path)))
    return found
