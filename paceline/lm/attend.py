"""Attention, in one function: every query of every layer, on the stock and on the lean forward, goes through `attend`.

The stock forward reaches it through transformers' `AttentionInterface` (`paceline` as the implementation's name), with the
`Call` passed as a keyword of the model call; the lean forward calls it directly. A `Call` lives for one forward.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface

from paceline.errors import ModelError
from paceline.lm.kv import KV, Slot

__all__ = ["NAME", "Call", "attend"]

NAME = "paceline"
QUERY_BLOCK, EXACT_QUERIES = 32, 8  # the CPU kernel takes queries by 32; in blocks of fewer than 8 its sums differ


class Call:
    """What one forward tells attention: whose keys, where they start, who sees whom.

    B rows of T new tokens each; `parents`: per row the parent of each new token among the new ones (-1 = the committed prefix),
    or None when every row is a chain. `exact`: pad queries and views so that results do not depend on T or on the view.
    """

    def __init__(self, kv: KV, slots: Sequence[Slot], width: int, parents: Sequence[Sequence[int]] | None, exact: bool):
        self.kv, self.slots, self.width, self.parents, self.exact = kv, slots, width, parents, exact
        self.starts = [slot.length for slot in slots]
        kv.reserve(max(self.starts) + width)
        self.index = kv.index(slots)
        self.length = min(kv.round(max(self.starts) + width), kv.capacity)
        self._masks: dict[tuple[Any, ...], torch.Tensor] = {}

    def positions(self) -> list[list[int]]:
        """Absolute position of every new token, [B][T]: committed length plus depth."""
        if self.parents is None:
            return [list(range(start, start + self.width)) for start in self.starts]
        return [self._tree_positions(start, row) for start, row in zip(self.starts, self.parents, strict=True)]

    def _tree_positions(self, start: int, parents: Sequence[int]) -> list[int]:
        out: list[int] = []
        for i in range(self.width):
            parent = parents[i] if i < len(parents) else -1
            out.append(start if parent == -1 else out[parent] + 1)
        return out

    def mask(self, like: torch.Tensor, window: int | None, groups: int) -> torch.Tensor:
        """Additive mask [B or 1, 1, groups * T, length] in `like`'s dtype; made once per forward and window.

        `groups` query heads share a key head and are laid out as further rows. Rows beyond groups * T (padding) see what the
        last row sees.
        """
        key = (window, groups, like.dtype)
        if key not in self._masks:
            rows = torch.stack([self._visible(b, window) for b in range(len(self.slots))])[:, None]
            mask = torch.zeros(rows.shape, dtype=like.dtype).masked_fill_(~rows, -torch.inf)
            if groups > 1:
                mask = mask.repeat(1, 1, groups, 1)
            if self.exact and 0 < (tail := mask.shape[2] % QUERY_BLOCK) < EXACT_QUERIES:
                mask = pad(mask, (0, 0, 0, EXACT_QUERIES - tail))
            self._masks[key] = mask.to(like.device)
        return self._masks[key]

    def _visible(self, b: int, window: int | None) -> torch.Tensor:
        """Which keys each new token of row b sees: [T, length] bool."""
        start, t = self.starts[b], self.width
        keys = torch.arange(self.length)
        if self.parents is None:
            queries = torch.arange(start, start + t)[:, None]
            seen = keys <= queries
            return seen if window is None else seen & (keys > queries - window)
        positions = torch.tensor(self._tree_positions(start, self.parents[b]))
        seen = (keys < start).expand(t, -1).clone()
        seen[:, start : start + t] = ancestors(self.parents[b], t)
        if window is not None:
            places = keys.clone()
            places[start : start + t] = positions
            seen &= places > positions[:, None] - window
        return seen


def ancestors(parents: Sequence[int], width: int) -> torch.Tensor:
    """Ancestor-or-self matrix [T, T] of a tree given by parents; missing entries are padding that sees itself only."""
    seen = torch.eye(width, dtype=torch.bool)
    for i, parent in enumerate(parents):
        if parent != -1:
            seen[i] |= seen[parent]
    return seen


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layer: int, call: Call, scale: float,
           window: int | None = None) -> torch.Tensor:
    """Write the new keys and attend to all a query may see.

    q [B, Hq, T, D], k and v [B, H, T, D] of the new tokens; returns [B, T, Hq, D]. Hq is a multiple of H (grouped queries).
    """
    b, hq, t, d = q.shape
    h = k.shape[1]
    call.kv.write(layer, call.slots, k, v)
    cached = call.kv.view(layer, call.index, call.length)
    groups = hq // h
    rows = q.reshape(b, h, groups * t, d)
    mask = call.mask(rows, window, groups)
    if mask.shape[2] > groups * t:
        rows = pad(rows, (0, 0, 0, mask.shape[2] - groups * t))
    out = scaled_dot_product_attention(rows, cached[0], cached[1], attn_mask=mask, scale=scale)
    return out[:, :, : groups * t].reshape(b, hq, t, d).transpose(1, 2)


def _from_transformers(module: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, attention_mask: Any,
                       scaling: float | None = None, sliding_window: int | None = None, **keywords: Any):
    """The signature transformers calls; refuses what `attend` does not compute rather than computing something else."""
    for name in ("softcap", "s_aux"):
        if keywords.get(name) is not None:
            raise ModelError(f"{type(module).__name__} uses {name} in attention, which Paceline does not support yet.")
    call = keywords["paceline_call"]
    scale = scaling if scaling is not None else q.shape[-1] ** -0.5
    return attend(q, k, v, module.layer_idx, call, scale, sliding_window), None


AttentionInterface.register(NAME, _from_transformers)
