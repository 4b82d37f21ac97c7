"""What a model has lost by rounding: its next tokens' distributions beside the original's, on the same texts."""

from collections.abc import Callable, Sequence
from math import exp, log
from typing import NamedTuple

import torch

from paceline.lm import LM
from paceline.lm.batch import Batch

__all__ = ["MOST", "Logits", "Loss", "logits_of", "loss", "pooled"]

MOST = 512  # tokens of a text
Logits = Callable[[list[int]], torch.Tensor]  # ids of a text -> [T, V], of what follows each


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
def loss(original: torch.Tensor, rounded: torch.Tensor, ids: list[int]) -> Loss:
    """Of one text of at least two tokens, from what both models, of one vocabulary, gave for it."""
    before, after = (logits[:-1].cpu().double().log_softmax(-1) for logits in (original, rounded))
    came = torch.tensor(ids[1:], dtype=torch.long, device="cpu")[:, None]
    each = (-before.gather(1, came), -after.gather(1, came), before.exp().mul_(before - after).sum(-1),
            (before.argmax(-1) == after.argmax(-1)).double())
    first, second, divergence, same = (values.mean().item() for values in each)
    return Loss(len(came), exp(first), exp(second), divergence, same)


def pooled(losses: Sequence[Loss]) -> Loss:
    """Of several texts together, every place the same weight."""
    count = sum(one.tokens for one in losses)

    def mean(each: Callable[[Loss], float]) -> float:
        return sum(one.tokens * each(one) for one in losses) / max(1, count)

    return Loss(count, exp(mean(lambda one: log(one.before))), exp(mean(lambda one: log(one.after))),
                mean(lambda one: one.divergence), mean(lambda one: one.same))


def logits_of(lm: LM) -> Logits:
    """A model's own, by its forward."""

    @torch.inference_mode()
    def read(ids: list[int]) -> torch.Tensor:
        kv = lm.cache()
        return lm.forward(Batch.of([kv.take()], [ids]), kv)

    return read
