"""What decoding keeps of a translation as it grows: bytes, which are exact, and the time that a token takes, which is not."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from paceline.models.translation.config import TranslationConfig
from paceline.models.translation.markov import Markov

__all__ = ["ORDER", "grown"]

ORDER = 4
LENGTHS = (10, 30, 100, 300, 1000)  # tokens
BEFORE = 10  # tokens up to each length, whose median time is told
KINDS: dict[str, dict[str, Any]] = {"markov": {"order": ORDER, "leak_free": "transparent"}, "ar": {}}


def grown(lengths: tuple[int, ...] = LENGTHS, repeats: int = 3) -> dict[str, Any]:
    """Of a Markov model and of the usual decoder, with random weights and one sentence: bytes of the target's keys behind so many
    tokens, and milliseconds of a token there.
    """
    models = {kind: Markov(TranslationConfig(vocabulary=4000, width=128, ffn=512, longest=lengths[-1], **settings)).eval()
              for kind, settings in KINDS.items()}
    looks: dict[str, list[np.ndarray]] = {kind: [] for kind in models}
    for _ in range(repeats):
        for kind, model in models.items():
            looks[kind].append(decoded(model, lengths[-1]))
    return {"lengths": lengths} | {kind: told(np.stack(found), lengths) for kind, found in looks.items()}


@torch.no_grad()
def decoded(model: Markov, length: int) -> np.ndarray:
    """Bytes and milliseconds of every token, [T, 2]."""
    tokens = torch.full((1, 8), model.config.vocabulary - 1, dtype=torch.long, device="cpu")
    cache, found = model.start(model.read(tokens)), []
    for _ in range(length):
        began = time.perf_counter()
        model.decode(tokens[:, :1], cache)
        found.append((cache.bytes, 1000 * (time.perf_counter() - began)))
    return np.array(found)


def told(looks: np.ndarray, lengths: tuple[int, ...]) -> dict[str, list[float]]:
    """Of looks [R, T, 2]."""
    times = [float(np.median(looks[:, max(0, n - BEFORE) : n, 1])) for n in lengths]
    return {"bytes": [int(looks[0, n - 1, 0]) for n in lengths], "milliseconds": [round(each, 3) for each in times]}
