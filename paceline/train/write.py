"""Text that a model writes itself, from the beginnings of given documents: a draft learns best from what it will meet.

Source: Zhou et al., DistillSpec (arXiv 2310.08461), section 4: data from the target or the draft beats fixed data. Ours: the
target's text, at several temperatures, beside the fixed data.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from paceline.core.request import Request
from paceline.core.row import Generation
from paceline.core.sampling import Sampling
from paceline.data.corpus import Stream
from paceline.engine import Engine
from paceline.errors import DataError
from paceline.lm import load

__all__ = ["write_on"]

TEMPERATURES = (0.0, 0.6, 1.0)
SHORTEST, LONGEST, LENGTH, ROWS = 16, 160, 128, 12  # of the beginnings, of what follows, and how many texts at once
PATIENCE = 4  # times the number of rounds that would do if every text taught something


def write_on(
    model: Path, streams: Mapping[str, Stream], shares: Mapping[str, float], tokens: int, ends: frozenset[int], seed: int
) -> Stream:
    """About ``tokens`` tokens: beginnings of documents, streams in proportion to ``shares``, each followed by what the model
    in the folder ``model`` writes, until one of ``ends``, greedily or at one of two temperatures. Text that repeats itself is
    left out: it is easy to draft and teaches nothing.
    """
    lm, rng = load(str(model), dtype="fp32"), np.random.default_rng(seed)
    names = list(streams)
    chances = np.array([shares[name] for name in names])
    found: list[list[int]] = []
    engine = Engine(lm, "none", slots=ROWS)
    for _ in range(PATIENCE * (1 + tokens // (8 * ROWS * SHORTEST))):
        if sum(map(len, found)) >= tokens:
            break
        picked = rng.choice(len(names), size=min(8 * ROWS, ROWS + tokens // LENGTH), p=chances / chances.sum())
        requests = [_request(streams[names[i]], lm.context, ends, rng) for i in picked]
        found += [[*r.prompt, *g.tokens] for r, g in zip(requests, engine.run(requests), strict=True) if _teaches(g)]
    if not found:
        raise DataError(f"The model in {model} repeats itself in all it writes; train it first.")
    starts = np.cumsum([0, *map(len, found)])
    text = np.array([token for document in found for token in document], dtype=np.uint16)
    return Stream(text, starts, np.ones(len(text), dtype=bool), 0)


def _request(stream: Stream, context: int, ends: frozenset[int], rng: np.random.Generator) -> Request:
    """The beginning of a random document, and how to go on."""
    number = int(rng.integers(len(stream.starts) - 1))
    start, stop = int(stream.starts[number]), int(stream.starts[number + 1])
    length = int(rng.integers(SHORTEST, LONGEST))
    hidden = ~stream.learn[start : min(start + length, stop)]
    if hidden.any():  # a dialogue's system turn, which is given whole
        length += int(np.argmax(np.append(stream.learn[start + 1 : stop], True))) + 1
    prompt = stream.tokens[start : min(start + length, stop - 1, start + context - LENGTH)].tolist()
    sampling = Sampling(temperature=float(rng.choice(TEMPERATURES)), seed=int(rng.integers(2**31)))
    return Request(prompt or [int(stream.tokens[start])], sampling, max_new_tokens=LENGTH, eos=ends)


def _teaches(generation: Generation) -> bool:
    return not generation.stats.looping
