"""What attention of one layer was given for one text."""

from dataclasses import dataclass

import torch

from paceline.lm.rotary import Rope

__all__ = ["Seen"]


@dataclass(frozen=True)
class Seen:
    """One layer of one text, without padding. tokens [T]: its ids.

    q [Hq, T, D] and k [G, T, D]: rotated, not scaled; v [G, T, D']; in the model's dtype. Query head h reads key head
    h // groups. scale: of scores. window: keys that a query sees, itself included; None = all. cap: scores are
    cap * tanh(score / cap). sinks [Hq]: a further logit of each head's rows that belongs to no key. positions [T]. rope: how q
    and k were rotated; None where the layer does not rotate, or in a way that is not known. hidden [T, W]: the residual stream
    that enters the layer, before its norm. biases: of the projections to q [Hq, D] and k [G, D], as added before the rotation;
    None where there are none, or where a norm follows them. masked [Hq, T]: keys that queries behind them do not see, by an
    intervention; None = no such keys.
    """

    layer: int
    text: int
    tokens: torch.Tensor
    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    scale: float
    window: int | None
    cap: float | None
    sinks: torch.Tensor | None
    positions: torch.Tensor
    rope: Rope | None
    hidden: torch.Tensor
    biases: tuple[torch.Tensor, torch.Tensor] | None
    masked: torch.Tensor | None = None

    @property
    def groups(self) -> int:
        """Query heads that share a key head."""
        return self.q.shape[0] // self.k.shape[0]
