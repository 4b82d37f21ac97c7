"""Attention, in one function: every query of every layer, on the stock and on the lean forward, goes through `attend`.

The stock forward reaches it through transformers' `AttentionInterface` (`stock.py`); the lean forward calls it directly. A
`Call` lives for one forward.
"""

import math
import time
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache, partial
from typing import Any

import torch
from torch.nn.functional import pad, scaled_dot_product_attention

from paceline.lm.kv import KV, Slot

__all__ = ["Call", "attend", "attend_in_parts", "attend_other"]

QUERY_BLOCK, EXACT_QUERIES = 32, 8  # the CPU kernel takes queries by 32; in blocks of fewer than 8 its sums differ
LONG = 1024  # below, a mask costs little
STAIRS_ROWS, STAIRS_CAPACITY = 64, 16384  # masks of chains within these are views into one kept table


class Call:
    """What one forward tells attention: whose keys, where they start, who sees whom.

    B rows of T new tokens each; `parents`: per row the parent of each new token among the new ones (-1 = the committed prefix),
    or None when every row is a chain. `exact`: pad queries and views so that results do not depend on T or on the view.
    `context`: no position reaches it; padding tokens of a row that ends there take the last one.
    """

    def __init__(self, kv: KV, slots: Sequence[Slot], width: int, parents: Sequence[Sequence[int]] | None, exact: bool,
                 context: int = 1 << 40):
        self.kv, self.slots, self.width, self.parents, self.exact, self.context = kv, slots, width, parents, exact, context
        if kv.window:
            kv.slide(slots, width)
        self.starts = [slot.length for slot in slots]  # places in the cache
        self.dropped = [slot.dropped for slot in slots]  # what is to be added to them to be positions
        if not kv.window:
            kv.reserve(max(self.starts) + width)
        self.queries: list[torch.Tensor] | None = None  # receives every layer's, where somebody wants them
        self._masks: dict[tuple[Any, ...], torch.Tensor] = {}
        self._parts: bool | None = None
        self._positions: list[list[int]] | None = None

    def of(self, slots: Sequence[Slot], width: int, parents: Sequence[Sequence[int]] | None = None) -> "Call":
        """The same for some of its rows, or for rows of another width; queries go where this one's go."""
        made = Call(self.kv, slots, width, parents, self.exact, self.context)
        made.queries = self.queries
        return made

    @cached_property
    def index(self) -> slice | list[int]:
        """Of the slots in the cache."""
        return self.kv.index(self.slots)

    @cached_property
    def length(self) -> int:
        """Keys that a view shows."""
        return min(self.kv.span(max(self.starts) + self.width), self.kv.capacity)

    def positions(self) -> list[list[int]]:
        """Absolute position of every new token, [B][T]: committed length plus depth."""
        if self._positions is None or len(self._positions[0]) != self.width:
            self._positions = [self._row_positions(b) for b in range(len(self.slots))]
        return self._positions

    def _row_positions(self, b: int) -> list[int]:
        start = self.starts[b] + self.dropped[b]
        if self.parents is not None:
            return self._tree_positions(start, self.parents[b])
        if start + self.width <= self.context:
            return list(range(start, start + self.width))
        return [min(start + i, self.context - 1) for i in range(self.width)]

    def read_ends(self) -> list[list[int]]:
        """How many of the other model's keys every new token sees, [B][T]: all that is cached there before its own position."""
        return [[min(0 if slot.reads is None else slot.reads.length, p) for p in row]
                for slot, row in zip(self.slots, self.positions(), strict=True)]

    def _tree_positions(self, start: int, parents: Sequence[int]) -> list[int]:
        out: list[int] = []
        for i in range(self.width):
            parent = parents[i] if i < len(parents) else -1
            out.append(start if parent == -1 else out[parent] + 1)
        return out

    def mask(self, like: torch.Tensor, window: int | None, groups: int) -> torch.Tensor:
        """Additive mask [B or 1, 1, R, length] in `like`'s dtype, made once per forward and window.

        `groups` query heads share a key head and are laid out as further rows, token by token: row r is token r // groups. In
        exact mode R is rounded up so that the kernel never gets a block of few rows; what such rows see does not matter.
        """
        key = (window, groups, like.dtype)
        if key not in self._masks:
            rows = groups * self.width
            if self.exact and 0 < (tail := rows % QUERY_BLOCK) < EXACT_QUERIES:
                rows += EXACT_QUERIES - tail
            parts = [self._row_mask(b, rows, like, window, groups) for b in range(len(self.slots))]
            self._masks[key] = parts[0][None, None] if len(parts) == 1 else torch.stack(parts)[:, None]
        return self._masks[key]

    def in_parts(self, like: torch.Tensor) -> bool:
        """Whether to attend to the prefix without a mask and to the new tokens by themselves: one row of text, not in exact mode,
        where a measurement says that it is faster.
        """
        if self._parts is None:
            may = len(self.slots) == 1 and not self.exact and like.device.type == "cpu" and self.starts[0] >= LONG
            self._parts = may and parts_pay(*sizes(like, self.starts[0]))
        return self._parts

    def own(self, like: torch.Tensor, groups: int) -> torch.Tensor:
        """Additive mask [R, T] among the new tokens of the only row, `groups` heads to a token."""
        key = ("own", groups, like.dtype)
        if key not in self._masks:
            t = self.width
            tree = ancestors(self.parents[0] if self.parents else range(-1, t - 1), t)
            seen = torch.tensor([[j in tree[i] for j in range(t)] for i in range(t)], dtype=torch.bool, device=like.device)
            self._masks[key] = like.new_zeros(seen.shape).masked_fill_(~seen, -math.inf).repeat_interleave(groups, 0)
        return self._masks[key]

    def _row_mask(self, b: int, rows: int, like: torch.Tensor, window: int | None, groups: int) -> torch.Tensor:
        """Mask [rows, length] of one row of the batch; for a chain, a view into stairs that the cache keeps."""
        start = self.starts[b]
        if self.parents is not None:
            return self._tree_mask(b, rows, like, window, groups)
        if rows > STAIRS_ROWS or self.kv.capacity > STAIRS_CAPACITY:
            return stairs(rows, self.length, start, window, groups, like)
        key = (window, groups, like.dtype, self.kv.capacity)
        if key not in self.kv.derived:
            self.kv.derived[key] = stairs(STAIRS_ROWS, 2 * self.kv.capacity, self.kv.capacity, window, groups, like)
        left = self.kv.capacity - start
        return self.kv.derived[key][:rows, left : left + self.length]

    def _tree_mask(self, b: int, rows: int, like: torch.Tensor, window: int | None, groups: int) -> torch.Tensor:
        """The committed prefix within the window, then ancestors-or-self; padding sees what the pending token sees."""
        start, parents = self.starts[b], self.parents[b] if self.parents else ()
        places = self._tree_positions(start, parents)
        tree = ancestors(parents, self.width)
        lists = []
        for r in range(rows):
            i = min(r // groups, self.width - 1)
            oldest = 0 if window is None else max(0, places[i] - window + 1)
            lists.append([oldest, *(0.0 if j in tree[i] and places[j] >= oldest else -math.inf for j in range(self.width))])
        table = torch.tensor(lists, dtype=torch.float32, device="cpu")
        mask = like.new_full((rows, self.length), -math.inf)
        if window is None:
            mask[:, :start] = 0.0
        else:
            inside = torch.arange(start, dtype=torch.long, device="cpu")[None] >= table[:, :1]
            mask[:, :start].masked_fill_(inside.to(like.device), 0.0)
        mask[:, start : start + self.width] = table[:, 1:].to(mask)
        return mask


def stairs(rows: int, columns: int, start: int, window: int | None, groups: int, like: torch.Tensor) -> torch.Tensor:
    """Causal mask [rows, columns] of a chain whose first token stands at `start`: row r sees keys up to start + r // groups."""
    last = start + torch.arange(rows, dtype=torch.long, device=like.device)[:, None] // groups
    keys = torch.arange(columns, dtype=torch.long, device=like.device)[None]
    hidden = keys > last if window is None else (keys > last) | (keys <= last - window)
    return like.new_zeros((rows, columns)).masked_fill_(hidden, -math.inf)


def ancestors(parents: Sequence[int], width: int) -> list[set[int]]:
    """Ancestors-or-self of each of `width` tokens; those beyond the parents given are padding that sees itself only."""
    out: list[set[int]] = []
    for i in range(width):
        parent = parents[i] if i < len(parents) else -1
        out.append({i} | (out[parent] if parent != -1 else set()))
    return out


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layer: int, call: Call, scale: float,
           window: int | None = None) -> torch.Tensor:
    """Write the new keys and attend to all a query may see.

    q [B, Hq, T, D], k [B, H, T, D] and v [B, H, T, D'] of the new tokens; returns [B, T, Hq, D']. Hq is a multiple of H (grouped
    queries).
    """
    if k.shape[-1] != v.shape[-1]:  # a cache holds both in one width; zeros behind the shorter change no sum
        width, value = max(k.shape[-1], v.shape[-1]), v.shape[-1]
        q, k, v = (pad(x, (0, width - x.shape[-1])) for x in (q, k, v))
        return attend(q, k, v, layer, call, scale, window)[..., :value]
    b, hq, t, d = q.shape
    h = k.shape[1]
    call.kv.write(layer, call.slots, k, v)
    if call.queries is not None:
        call.queries.append(q * scale)
    groups = hq // h
    rows = q.unflatten(1, (h, groups)).transpose(2, 3).reshape(b, h, t * groups, d)
    if window is None and call.in_parts(rows):
        out = attend_in_parts(rows, call.kv.view(layer, call.index, call.starts[0] + t), call.own(rows, groups), scale)
        return out.unflatten(2, (t, groups)).permute(0, 2, 1, 3, 4).reshape(b, t, hq, d)
    cached = call.kv.view(layer, call.index, call.length)
    mask = call.mask(rows, window, groups)
    if mask.shape[2] > groups * t:
        rows = pad(rows, (0, 0, 0, mask.shape[2] - groups * t))
    out = scaled_dot_product_attention(rows, cached[0], cached[1], attn_mask=mask, scale=scale)
    return out[:, :, : groups * t].unflatten(2, (t, groups)).permute(0, 2, 1, 3, 4).reshape(b, t, hq, d)


def attend_in_parts(rows: torch.Tensor, cached: torch.Tensor, mask: torch.Tensor, scale: float) -> torch.Tensor:
    """Attention to a prefix that every query sees, and to the last T keys under a mask [R, T], merged by their weights' sums.

    rows [B, H, R, D]; cached [2, B, H, S + T, D]; returns [B, H, R, D]. No mask of the prefix's length exists. Source: Yang, Du
    et al., LongSpec (arXiv 2502.17421), section 3.3; merged in fp32.
    """
    t = mask.shape[1]
    (k, k_own), (v, v_own) = ((x[:, :, :-t], x[:, :, -t:]) for x in cached)
    seen, weight = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(rows, k, v, scale=scale)[:2]
    scores = (rows @ k_own.mT).float() * scale + mask.float()
    own = (scores.softmax(-1).to(v.dtype) @ v_own).float()
    share = torch.sigmoid(weight.unflatten(-1, (-1, 1)).float() - scores.logsumexp(-1, keepdim=True))
    return (own + share * (seen.float() - own)).to(rows.dtype)


def sizes(like: torch.Tensor, prefix: int) -> tuple[int, int, int, int, torch.dtype]:
    """What the measurement depends on, in powers of two, so that few are made: rows, prefix, heads, width, dtype."""
    rows, length = (1 << (n - 1).bit_length() for n in (like.shape[2], prefix))
    return rows, length, like.shape[1], like.shape[3], like.dtype


@lru_cache(maxsize=64)
def parts_pay(rows: int, prefix: int, heads: int, dim: int, dtype: torch.dtype) -> bool:
    """Whether attention in parts is faster than under one mask, for tensors of these sizes: measured once for each."""
    q = torch.randn(1, heads, rows, dim, dtype=dtype, device="cpu")
    cached = torch.randn(2, 1, heads, prefix + rows, dim, dtype=dtype, device="cpu")
    own, whole = q.new_zeros(rows, rows), q.new_zeros(1, 1, rows, prefix + rows)
    parts = partial(attend_in_parts, q, cached, own, 1.0)
    dense = partial(scaled_dot_product_attention, q, cached[0], cached[1], attn_mask=whole, scale=1.0)
    return min(map(seconds, [parts] * 4)) < min(map(seconds, [dense] * 4))


def seconds(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def attend_other(q: torch.Tensor, layer: int, call: Call, scale: float) -> torch.Tensor:
    """Attend to the keys that another model has cached for each row, in its slot `slot.reads`: all before the token's position.

    q [B, T, H, D]; returns [B, T, H, D], zeros where a token sees none.
    """
    out = torch.zeros_like(q)
    for b, (slot, ends) in enumerate(zip(call.slots, call.read_ends(), strict=True)):
        if (n := max(ends)) == 0 or slot.reads is None:
            continue
        k, v = slot.reads.kv.view(layer, [slot.reads.index], n)
        keys = torch.arange(n, dtype=torch.long, device=q.device)
        hidden = keys[None] >= keys.new_tensor(ends)[:, None]
        mask = q.new_zeros((q.shape[1], n)).masked_fill_(hidden, -math.inf)
        seen = scaled_dot_product_attention(q[b : b + 1].transpose(1, 2), k, v, attn_mask=mask, scale=scale, enable_gqa=True)
        out[b] = seen[0].transpose(0, 1).nan_to_num() if min(ends) == 0 else seen[0].transpose(0, 1)
    return out
