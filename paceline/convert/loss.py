"""What a model has lost by rounding: its next tokens' distributions beside the original's, on the same texts."""

from collections.abc import Iterable
from math import exp
from typing import NamedTuple

import torch

from paceline.lm import LM
from paceline.lm.batch import Batch

__all__ = ["Loss", "loss"]

MOST = 512  # tokens of a text


class Loss(NamedTuple):
    """Means over `tokens` places in texts: perplexity of the text before and after; divergence: KL(original, rounded) in nats;
    same: how often the likeliest token is the same.
    """

    tokens: int
    before: float
    after: float
    divergence: float
    same: float

    def __str__(self) -> str:
        return (f"perplexity {self.before:.4g} before and {self.after:.4g} after rounding, KL divergence {self.divergence:.2g} "
                f"nats, the same likeliest token in {self.same:.1%} of {self.tokens} places")


@torch.inference_mode()
def loss(original: LM, rounded: LM, texts: Iterable[str]) -> Loss:
    """Read texts with both models, which have one vocabulary; texts of a single token say nothing."""
    sums, count = torch.zeros(4, dtype=torch.float64, device="cpu"), 0
    for text in texts:
        ids = original.tokenizer(text)["input_ids"][:MOST]
        before, after = (laws(lm, ids) for lm in (original, rounded))
        came = torch.tensor(ids[1:], dtype=torch.long, device="cpu")[:, None]
        sums[0] -= before.gather(1, came).sum()
        sums[1] -= after.gather(1, came).sum()
        sums[2] += (before.exp() * (before - after)).sum()
        sums[3] += (before.argmax(-1) == after.argmax(-1)).sum()
        count += len(came)
    first, second, divergence, same = (sums / max(1, count)).tolist()
    return Loss(count, exp(first), exp(second), divergence, same)


def laws(lm: LM, ids: list[int]) -> torch.Tensor:
    """Logarithms of the probabilities [T - 1, V] of what follows each token but the last."""
    kv = lm.cache()
    return lm.forward(Batch.of([kv.take()], [ids]), kv)[:-1].cpu().double().log_softmax(-1)
