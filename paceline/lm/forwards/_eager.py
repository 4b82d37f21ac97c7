"""How forwards made of torch's operators run: so that a token's logits are the same bits however many are computed with it.

Torch's kernels for a single row, and for more rows than `ROWS`, add up differently. So a single token is computed twice over
where bits matter, and many rows are computed in groups. Everything runs in the model's own dtypes, whatever `torch.autocast`
surrounds it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from paceline.lm.attention import Call
from paceline.lm.batch import Batch
from paceline.lm.kv import KV
from paceline.lm.weights.packed import ROWS

__all__ = ["Eager"]


@dataclass
class Eager:
    """A `Forward` (`protocols.py`). run: the operators themselves. packed: whether linears are. context: positions stay below."""

    name: str
    run: Callable[[Call], torch.Tensor]
    packed: bool
    weight_bytes: int
    context: int
    device: torch.device

    in_order, extend = False, None
    captures = frozenset({"queries"})

    @torch.inference_mode()
    def __call__(self, batch: Batch, kv: KV) -> torch.Tensor:
        b, t = batch.tokens.shape
        if kv.exact and b > 1 and b * t > ROWS and batch.logits_at != ():
            return self._in_groups(batch, kv)
        batch = replace(batch, tokens=batch.tokens.to(self.device))
        if b * t == 1 and (kv.exact or self.packed):
            at = (0,) if batch.logits_at is None else batch.logits_at
            batch = replace(batch, tokens=batch.tokens.repeat(1, 2), parents=None, logits_at=at)
        with torch.autocast(self.device.type, enabled=False):
            logits = self.run(Call(batch, kv, self.context))
        if batch.queries is not None:
            batch.queries[:] = [q[:, :, :t] for q in batch.queries]
        return logits

    def _in_groups(self, batch: Batch, kv: KV) -> torch.Tensor:
        """The same forward in as many calls as keep the kernels within the number of rows they are exact for."""
        b, t = batch.tokens.shape
        size = max(1, ROWS // t)
        parts = [Batch(batch.slots[i : i + size], batch.tokens[i : i + size], batch.parents and batch.parents[i : i + size],
                       queries=None if batch.queries is None else []) for i in range(0, b, size)]
        logits = torch.cat([self(part, kv) for part in parts])
        if batch.queries is not None:
            batch.queries.extend(torch.cat(layer) for layer in zip(*(part.queries or () for part in parts), strict=True))
        return batch.picked(logits)
