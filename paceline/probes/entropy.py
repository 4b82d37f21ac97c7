"""How widely each head looks: the entropy of its attention rows beside that of rows that give all keys the same."""

from dataclasses import dataclass, field

import torch

from paceline.core.reading import Figure, Reading
from paceline.lm.trace import Seen, Subject
from paceline.probes import Watch
from paceline.probes._kept import Kept

__all__ = ["Entropy"]


@dataclass(frozen=True)
class Entropy:
    """Mean over queries of the entropy of a row, in nats; its null level is that of rows that give all keys they see the same."""

    def start(self, subject: Subject) -> Watch:
        return EntropyWatch()


@dataclass
class EntropyWatch:
    """Entropies of rows over the number of rows, and the same for uniform ones."""

    found: Kept = field(default_factory=Kept)
    uniform: Kept = field(default_factory=Kept)

    def rows(self, seen: Seen, start: int, probs: torch.Tensor) -> None:
        count = len(seen.positions)
        self.found.add(seen.text, seen.layer, entropy(probs).sum(-1) / count)
        keys = torch.arange(start + 1, start + 1 + probs.shape[1], dtype=torch.float32).clamp_max(seen.window or count)
        self.uniform.add(seen.text, seen.layer, keys.log().sum(0, keepdim=True) / count)

    def reading(self) -> Reading:
        figure = Figure(self.found.each, ("layer", "head"), "nats", self.uniform.each.mean(0), {"layer": self.found.layers})
        return Reading("entropy", {"entropy": figure}, "At 0 each query looks at one key; at the null level it looks at all that "
                       "it sees alike.", len(self.found.texts))


def entropy(probs: torch.Tensor) -> torch.Tensor:
    """Of each row of probabilities [..., n], in nats."""
    return torch.special.entr(probs).sum(-1)
