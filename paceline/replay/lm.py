"""A target that writes what is written down already: drafters can be compared on recorded texts without a model.

It offers what the engine and drafters without a model use of `LM`, with the same meanings. What a model would have said after a
wrong token is not known and never asked for: the walk over a tree ends where the drafted text leaves the recorded one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, ClassVar

import torch

from paceline.core import protocols
from paceline.core.proposal import Proposal
from paceline.lm.kv import KV, Slot

__all__ = ["Costs", "Known", "ReplayLM"]


@dataclass(frozen=True)
class Costs:
    """What forwards are taken to cost, as there are none to measure: each further token a `share` of a plain step."""

    share: float = 0.05
    branching: float = 0.0
    # So long that drafting, which alone takes time here, pays.
    plain: ClassVar[Any] = SimpleNamespace(known=lambda rows: True, seconds=lambda rows, length: 1.0,
                                           enter=lambda rows, length, seconds: None)

    def ready(self, nodes: int) -> None: ...

    def renew(self, slots: Sequence[Any]) -> None: ...

    def token(self, rows: int = 1, length: int = 0) -> float:
        return self.share

    def further(self, nodes: int, rows: int = 1, length: int = 0) -> float:
        return self.share

    def extra(self, nodes: int, rows: int = 1, length: int = 0) -> float:
        return self.share * nodes


@dataclass(frozen=True)
class Known:
    """Stands for logits [N + 1, V] of which no more is known than the likeliest token: `next` at each place, None where nothing
    is. Nothing of size V is made, so a vocabulary of any size costs the same.
    """

    next: Sequence[int | None]
    vocab: int
    dtype, device = torch.float64, torch.device("cpu")

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.next), self.vocab

    def argmax(self, dim: int = -1) -> torch.Tensor:
        """Ids [N + 1]; 0 where nothing is known, which no rule looks at."""
        return torch.tensor([token or 0 for token in self.next], dtype=torch.long, device="cpu")

    def topk(self, count: int) -> Any:
        """`indices.tolist()` gives for each place the known token, or none."""
        known = [[] if token is None else [token] for token in self.next]
        return SimpleNamespace(indices=SimpleNamespace(tolist=lambda: known))


@dataclass
class ReplayLM:
    """A target of one text at a time. text: prompt and output, set before the request is decoded. Decodes greedily only.

    vocab: ids run below it. context: longest text, drafts included. It has no `forward`, hence no drafter that runs a model.
    """

    tokenizer: Any
    vocab: int
    context: int
    costs: protocols.Costs = field(default_factory=Costs)
    text: Sequence[int] = ()
    device, dtype, rope_switch, fingerprint = torch.device("cpu"), torch.float32, None, 0
    exact, exact_trees, why_not_exact = True, True, ""

    def cache(self, exact: bool = False) -> KV:
        """Slots with lengths and no keys."""
        return KV()

    def prefill(self, kv: KV, slot: Slot, tokens: Sequence[int]) -> None:
        kv.keep([slot], [range(len(tokens))])

    def score(self, kv: KV, slots: Sequence[Slot], pending: Sequence[int], proposals: Sequence[Proposal],
              queries: list[torch.Tensor] | None = None) -> list[Known]:
        """What follows each row's pending token and each of its nodes, root first; attention asks nothing here."""
        return [Known(self._following(slot.length, p), self.vocab) for slot, p in zip(slots, proposals, strict=True)]

    def _following(self, at: int, proposal: Proposal) -> list[int | None]:
        """The recorded tokens behind the pending one, which stands at `at`, and behind each node."""
        places: list[int | None] = [at]  # in the text, of the root and every node; None where it is another text
        for token, parent in zip(proposal.tokens, proposal.parents, strict=True):
            before = places[parent + 1]
            fits = before is not None and before + 1 < len(self.text) and self.text[before + 1] == token
            places.append(before + 1 if before is not None and fits else None)
        return [self.text[p + 1] if p is not None and p + 1 < len(self.text) else None for p in places]
