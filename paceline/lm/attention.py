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

from paceline.errors import ModelError
from paceline.lm.batch import Batch
from paceline.lm.held import Held
from paceline.lm.kv import FULL, KV, reaching
from paceline.patterns import Pattern

__all__ = ["Call", "attend", "attend_in_parts", "attend_other"]

QUERY_BLOCK, EXACT_QUERIES = 32, 8  # the CPU kernel takes queries by 32; in blocks of fewer than 8 its sums differ
LONG = 1024  # below, a mask costs little
STAIRS_ROWS, STAIRS_REACH = 64, 16384  # masks of chains within these are views into one kept table


class Call:
    """What attention derives of a batch: where its rows start, the positions of its tokens, who sees whom.

    `context`: no position reaches it; padding tokens of a row that ends there take the last one. Over an exact cache, queries and
    views are padded so that results do not depend on T or on the view.
    """

    def __init__(self, batch: Batch, kv: KV, context: int) -> None:
        self.batch, self.kv, self.context = batch, kv, context
        self.slots, self.parents, self.width = batch.slots, batch.parents, batch.tokens.shape[1]
        self.starts = [slot.length for slot in self.slots]
        kv.check(batch.end)
        self._masks: dict[tuple[Any, ...], torch.Tensor] = {}
        self._parts: bool | None = None

    @cached_property
    def positions(self) -> list[list[int]]:
        """Of every new token in its text, [B][T]: committed length plus depth."""
        if self.parents is not None:
            return [self._tree_positions(start, row) for start, row in zip(self.starts, self.parents, strict=True)]
        return [[min(start + i, self.context - 1) for i in range(self.width)] for start in self.starts]

    def read_ends(self) -> list[list[int]]:
        """How many of the other model's keys every new token sees, [B][T]: all that is cached there before its own position."""
        return [[min(0 if slot.reads is None else slot.reads.length, p) for p in row]
                for slot, row in zip(self.slots, self.positions, strict=True)]

    def _tree_positions(self, start: int, parents: Sequence[int]) -> list[int]:
        out: list[int] = []
        for i in range(self.width):
            parent = parents[i] if i < len(parents) else -1
            out.append(start if parent == -1 else out[parent] + 1)
        return out

    def mask(self, b: int, pattern: Pattern, shown: int, like: torch.Tensor, groups: int) -> torch.Tensor:
        """Additive mask [R, shown] of one row in `like`'s dtype, made once per forward and pattern.

        `groups` query heads share a key head and are laid out as further rows, token by token: row r is token r // groups. In
        exact mode R is rounded up so that the kernel never gets a block of few rows; what such rows see does not matter.
        """
        key = (b, pattern, groups, like.dtype)
        if key not in self._masks:
            rows = groups * self.width
            if self.kv.exact and 0 < (tail := rows % QUERY_BLOCK) < EXACT_QUERIES:
                rows += EXACT_QUERIES - tail
            held = self.slots[b].group(pattern)
            made = self._chain_mask if self.parents is None and not pattern.anchored else self._tree_mask
            self._masks[key] = made(b, pattern, held, (rows, shown), like, groups)
        return self._masks[key]

    def in_parts(self, like: torch.Tensor, prefix: int) -> bool:
        """Whether to attend to the prefix without a mask and to the new tokens by themselves: one row of text, not in exact mode,
        where a measurement says that it is faster.
        """
        if self._parts is None:
            may = len(self.slots) == 1 and not self.kv.exact and like.device.type == "cpu" and prefix >= LONG
            self._parts = may and parts_pay(*sizes(like, prefix))
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

    def _chain_mask(self, b: int, pattern: Pattern, held: Held, size: tuple[int, int], like: torch.Tensor,
                    groups: int) -> torch.Tensor:
        """Where it is small, a view into stairs that the cache keeps."""
        (rows, shown), start = size, self.starts[b] - held.dropped
        reach = 1 << (shown - 1).bit_length()
        if rows > STAIRS_ROWS or reach > STAIRS_REACH:
            return stairs(rows, shown, start, pattern, groups, like)
        key = (pattern, groups, like.dtype, reach)
        if key not in self.kv.derived:
            self.kv.derived[key] = stairs(STAIRS_ROWS, 2 * reach, reach, pattern, groups, like)
        return self.kv.derived[key][:rows, reach - start : reach - start + shown]

    def _tree_mask(self, b: int, pattern: Pattern, held: Held, size: tuple[int, int], like: torch.Tensor,
                   groups: int) -> torch.Tensor:
        """The committed prefix and the ancestors-or-self that the pattern shows; padding sees what the last token sees."""
        start, t = self.starts[b] - held.dropped, self.width
        parents = range(-1, t - 1) if self.parents is None else self.parents[b]
        each = torch.arange(size[0], dtype=torch.long, device=like.device).div(groups, rounding_mode="floor").clamp_max(t - 1)
        places = torch.tensor(self._tree_positions(self.starts[b], parents), dtype=torch.long, device=like.device)
        tree = ancestors(parents, t)
        own = torch.tensor([[j in tree[i] for j in range(t)] for i in range(t)], dtype=torch.bool, device=like.device)
        seen = torch.zeros(size, dtype=torch.bool, device=like.device)
        seen[:, :start] = pattern.visible(places[each, None], held.positions(start).to(like.device))
        seen[:, start : start + t] = (own & pattern.visible(places[:, None], places))[each]
        return like.new_zeros(size).masked_fill_(~seen, -math.inf)


def stairs(rows: int, columns: int, start: int, pattern: Pattern, groups: int, like: torch.Tensor) -> torch.Tensor:
    """Mask [rows, columns] of a chain whose first token stands at `start`: row r is that of token r // groups."""
    places = start + torch.arange(rows, dtype=torch.long, device=like.device)[:, None] // groups
    keys = torch.arange(columns, dtype=torch.long, device=like.device)[None]
    return like.new_zeros((rows, columns)).masked_fill_(~pattern.visible(places, keys), -math.inf)


def ancestors(parents: Sequence[int], width: int) -> list[set[int]]:
    """Ancestors-or-self of each of `width` tokens; those beyond the parents given are padding that sees itself only."""
    out: list[set[int]] = []
    for i in range(width):
        parent = parents[i] if i < len(parents) else -1
        out.append({i} | (out[parent] if parent != -1 else set()))
    return out


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, layer: int, call: Call, scale: float,
           window: int | None = None, **special: Any) -> torch.Tensor:
    """Write the new keys and attend to all a query may see; a batch that is watched is left to its watcher.

    q [B, Hq, T, D], k [B, H, T, D] and v [B, H, T, D'] of the new tokens; returns [B, T, Hq, D']. Hq is a multiple of H (grouped
    queries). special: what a family does beyond that, by transformers' names (softcap, s_aux), which a watcher alone computes.
    Raises ModelError for it elsewhere, rather than computing something else.
    """
    if call.batch.watch is not None:
        return call.batch.watch.attend(q, k, v, layer, scale, window, **special)
    if special:
        raise ModelError(f"This model uses {' and '.join(special)} in attention, which Paceline does not support yet.")
    if k.shape[-1] != v.shape[-1]:  # a cache holds both in one width; zeros behind the shorter change no sum
        width, value = max(k.shape[-1], v.shape[-1]), v.shape[-1]
        q, k, v = (pad(x, (0, width - x.shape[-1])) for x in (q, k, v))
        return attend(q, k, v, layer, call, scale, window)[..., :value]
    b, hq, t, d = q.shape
    h = k.shape[1]
    groups = hq // h
    if call.batch.queries is not None:
        call.batch.queries.append(q * scale)
    rows = q.unflatten(1, (h, groups)).transpose(2, 3).reshape(b, h, t * groups, d)
    patterns = [slot.pattern(layer, reaching(window)) for slot in call.slots]
    out = [attend_row(rows[i : i + 1], call.kv.write(layer, slot, k[i], v[i]), i, call, scale, patterns[i])
           for i, slot in enumerate(call.slots)]
    whole = out[0] if b == 1 else torch.cat(out)
    return whole.unflatten(2, (t, groups)).permute(0, 2, 1, 3, 4).reshape(b, t, hq, d)


def attend_row(rows: torch.Tensor, cache: torch.Tensor, b: int, call: Call, scale: float, pattern: Pattern) -> torch.Tensor:
    """Attention of row b alone, so that its sums never depend on who stands beside it.

    rows [1, H, T * G, D], token by token for the G query heads of a key head; cache [2, H, capacity, D], new keys included;
    returns as rows.
    """
    stop, asked = call.starts[b] - call.slots[b].group(pattern).dropped + call.width, rows.shape[2]
    groups = asked // call.width
    if pattern == FULL and call.in_parts(rows, stop - call.width):
        return attend_in_parts(rows, cache[:, None, :, :stop], call.own(rows, groups), scale)
    shown = min(call.kv.span(stop), cache.shape[2])
    k, v = cache[:, None, :, :shown]
    mask = call.mask(b, pattern, shown, rows, groups)
    if mask.shape[0] > asked:
        rows = pad(rows, (0, 0, 0, mask.shape[0] - asked))
    return scaled_dot_product_attention(rows, k, v, attn_mask=mask, scale=scale)[:, :, :asked]


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
        if (n := max(ends)) == 0 or slot.reads is None or (first := slot.reads.kv.start(layer, slot.reads)) >= n:
            continue
        k, v = slot.reads.kv.read(layer, slot.reads, first, n)[:, None]
        keys = torch.arange(first, n, dtype=torch.long, device=q.device)
        hidden = keys[None] >= keys.new_tensor(ends)[:, None]
        mask = q.new_zeros((q.shape[1], n - first)).masked_fill_(hidden, -math.inf)
        seen = scaled_dot_product_attention(q[b : b + 1].transpose(1, 2), k, v, attn_mask=mask, scale=scale, enable_gqa=True)
        out[b] = seen[0].transpose(0, 1).nan_to_num() if min(ends) <= first else seen[0].transpose(0, 1)
    return out
