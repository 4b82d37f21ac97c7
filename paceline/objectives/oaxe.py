"""OaXE: cross-entropy against the best of all orders of a sentence's reference (Du et al. 2021, arXiv 2106.05093)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from paceline.objectives import Loss
from paceline.objectives._assign import assign
from paceline.objectives._reordered import check, one_hot, reordered

__all__ = ["Oaxe"]


@dataclass(frozen=True)
class Oaxe:
    """For decoders that emit all tokens of a sentence at once, such as a masked LM over masks alone.

    Cross-entropy (XE) punishes a right word that stands one place further, so such a model averages over the orders it has
    seen, and repeats itself. Here position i is scored against token s(i) of the reference, where s is the permutation of
    least -sum log p_i(y_s(i)); the gradient flows through the chosen terms alone, which is a subgradient of the minimum.

    margin: terms whose probability is not above it are dropped, after the matching. 0 drops none; the paper's is 0.15.
    gate: the margin drops nothing of a call whose terms it would not leave this share of, as with a model that is sure of little
        yet: truncated, it would only learn to be surer of that. 0 always truncates, as the paper does; 0.7 is a fair choice.
    smoothing: share of label smoothing, over all positions, dropped ones too. The paper's is 0.1.
    mix: share T of plain XE in T XE + (1 - T) OaXE, 1 to 0. OaXE alone never learns an order: start from a model trained by
    XE, or let T fall as training goes on (`paceline.train.schedule.falling`).
    compat: read the margin as the released code does, log2(1 / margin) nats: 0.15 then acts like 0.065.

    Source: the paper's loss, truncation and joint training; smoothing as in the code released with it. Departures: a sum, to be
    divided by the number of target positions, dropped ones too, as in the paper; its length loss belongs to the model; all of
    the target takes part, where that code matches the leading tokens only if some are not masked; several references may be
    given. On a GPU the order may cost up to 1e-4 nats a sentence more than the best (`_auction`).
    """

    margin: float = 0.0
    gate: float = 0.0
    smoothing: float = 0.0
    mix: float = 0.0
    compat: bool = False

    def __post_init__(self) -> None:
        check("oaxe", self)

    def __call__(self, logits: Tensor, target: Tensor, teacher: Tensor | None = None) -> Loss:
        """Sum over the scored positions, in nats.

        Args:
            logits: ``[B, T, V]``, any float type; the log-softmax is taken in fp32 at least, the matching done in fp32.
            target: ``[B, T]`` token ids, or ``[B, R, T]`` for R references a sentence, of which the cheapest counts. Negative
                after a sentence's end, and throughout where a sentence has fewer references.
            teacher: not used; every objective takes it.

        Parts: ``matched``, the terms that are kept, and ``xent``, those of the reference's own order (nats); ``kept`` and
        ``moved``, how many tokens were not dropped and how many went to another place than their own.

        Raises ShapeError for other shapes, ids beyond V, padding within a sentence and references of different lengths;
        ModelError where scipy is needed and missing.
        """
        return reordered(logits, target, self, lambda costs, sizes: one_hot(assign(costs, sizes)))
