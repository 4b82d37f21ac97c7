"""How forwards made of torch's operators run: so that a token's logits are the same bits however many are computed with it.

Torch's kernels for a single row, and for more rows than `ROWS`, add up differently. So a single token is computed twice over
where bits matter, and many rows are computed in groups. Everything runs in the model's own dtypes, whatever `torch.autocast`
surrounds it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from paceline.lm.attention import Call
from paceline.lm.protocols import Chains
from paceline.lm.weights.packed import ROWS

__all__ = ["Eager"]

Run = Callable[[torch.Tensor, Call, Any], torch.Tensor | None]


@dataclass
class Eager:
    """A `Forward` (`protocols.py`). run(tokens [B, T], call, at): the operators themselves. packed: whether linears are."""

    name: str
    run: Run
    packed: bool
    weight_bytes: int
    device: torch.device

    in_order = chains = False
    captures = frozenset({"queries"})

    @torch.inference_mode()
    def __call__(self, tokens: torch.Tensor, call: Call, at: Sequence[int] | slice | None) -> torch.Tensor | None:
        b, t = tokens.shape
        if call.exact and b > 1 and b * t > ROWS and at is not None:
            return self._in_groups(tokens, call, at)
        if b * t == 1 and (call.exact or self.packed):
            tokens, at, call = tokens.repeat(1, 2), None if at is None else [0], call.of(call.slots, 2)
        with torch.autocast(self.device.type, enabled=False):
            logits = self.run(tokens.to(self.device), call, at)
        if call.queries is not None:
            call.queries[:] = [q[:, :, :t] for q in call.queries]
        return logits

    def extend(self, *given: Any) -> Chains:
        raise NotImplementedError("chains are made token by token")

    def _in_groups(self, tokens: torch.Tensor, call: Call, at: Sequence[int] | slice) -> torch.Tensor:
        """The same forward in as many calls as keep the kernels within the number of rows they are exact for."""
        b, t = tokens.shape
        size = max(1, ROWS // t)
        parts = [call.of(call.slots[i : i + size], t, call.parents and call.parents[i : i + size]) for i in range(0, b, size)]
        if call.queries is not None:
            for part in parts:
                part.queries = []
        out = [self(tokens[i * size : (i + 1) * size], part, slice(None)) for i, part in enumerate(parts)]
        if call.queries is not None:
            call.queries += [torch.cat(layer) for layer in zip(*(part.queries or () for part in parts), strict=True)]
        return torch.cat([x for x in out if x is not None])[at]
