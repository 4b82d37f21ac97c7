"""The lean forward as one call into compiled code (`forward.cpp`), for llama-type models on a CPU.

A small model's decode step is a hundred operators of a few microseconds; one call has none of their overheads, and reads each
weight once for all of a round's tokens. Its sums run in one fixed order for every number of tokens, rows and keys, so what is
drafted and verified, in chains or trees, is plain decoding's text bit for bit; `exactness.py` checks it at load. Where there is
no compiler, or a model is not llama-type, the other forwards serve.
"""

import ctypes
import threading
from array import array
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import torch

from paceline.errors import ModelError, ShapeError
from paceline.lm.attention import Call
from paceline.lm.batch import Batch
from paceline.lm.decoder import Decoder, Layer, Norm
from paceline.lm.forwards.fused import compiler
from paceline.lm.kv import KV, Slot, reaching
from paceline.lm.protocols import Chains
from paceline.lm.rotary import Rotary
from paceline.lm.weights import Native, Table, Weights
from paceline.lm.weights.blocks import Blocks
from paceline.lm.weights.dense import Dense
from paceline.lookup.stopping import Stop
from paceline.patterns import Pattern
from paceline.patterns.sliding import Sliding

__all__ = ["Fused", "build", "fits"]

NORMS = ("before_attention", "after_attention", "before_cross", "before_mlp", "after_mlp")
UNKNOWN_ID, TOO_LONG, NO_MEMORY, NO_TREE = 1, 2, 3, 4  # faults, as in model.h
DTYPES = (torch.float32, torch.bfloat16)
Told = tuple[int, int, int, int, int, int]  # what the code is told of a slot's group: `Held` in model.h


class CLinear(ctypes.Structure):
    pass


CLinear._fields_ = [
    *((name, ctypes.c_void_p) for name in ("weight", "scale", "bias")), ("rest", ctypes.POINTER(CLinear)),
    *((name, ctypes.c_int32) for name in ("out", "inputs", "kind", "integer")),
]  # fmt: skip


class CLayer(ctypes.Structure):
    _fields_ = [
        *((name, CLinear) for name in ("qkv", "o", "gate_up", "down", "cross_q", "cross_o")),
        *((name, ctypes.c_void_p) for name in (*NORMS, "q_norm", "k_norm", "cross_norm")),
        ("norm_heads", ctypes.c_int32), ("scale", ctypes.c_float), ("cross_scale", ctypes.c_float),
        ("eps", ctypes.c_float),
    ]  # fmt: skip


class CModel(ctypes.Structure):
    _fields_ = [
        ("layers", ctypes.POINTER(CLayer)), ("embedding", ctypes.c_void_p),
        *((name, ctypes.c_void_p) for name in ("norm", "cos", "sin", "cross_cos", "cross_sin")),
        *((name, CLinear) for name in ("head", "table")),
        *((name, ctypes.c_int32) for name in ("cross_heads", "cross_kv_heads", "cross_dim")),
        *((name, ctypes.c_int32) for name in ("count", "width", "heads", "kv_heads", "dim", "ffn", "half", "half_keys")),
        ("eps", ctypes.c_float),
    ]  # fmt: skip


class CCall(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("tokens", "rows", "held", "read", "group", "parents", "wanted")),
        *((name, ctypes.c_void_p) for name in ("queries", "logits")),
        *((name, ctypes.c_int32) for name in ("groups", "count", "width", "l", "positions", "known", "threads")),
    ]  # fmt: skip


class Prepared(NamedTuple):
    """A call's description, where its logits will be, and what must live as long."""

    call: CCall
    logits: torch.Tensor
    kept: tuple[Any, ...]


class Fused:
    """A `Forward` (`protocols.py`); logits are in the weights' dtype."""

    name, captures = "fused", frozenset({"queries"})
    packed = in_order = True

    def __init__(self, code: compiler.Code, decoder: Decoder) -> None:
        self.code, self.dtype, self.vocab, self.known = code, decoder.dtype, decoder.head.shape[0], decoder.known
        self.context, heads = decoder.context, decoder.heads
        floats = torch.zeros(0, dtype=torch.float32, device="cpu")
        self.rotary = Rotary(decoder.rope, decoder.context, floats)
        self.cross_rotary = None if decoder.cross_rope is None else Rotary(decoder.cross_rope, decoder.context, floats)
        self._kept: list[torch.Tensor] = []  # whatever the structures point at
        self._lock = threading.Lock()
        self.weight_bytes = 0  # that a decoded token reads
        self.native: list[dict[str, Native]] = [{} for _ in decoder.layers]
        layers = (self._layer(i, layer, heads.dim) for i, layer in enumerate(decoder.layers))
        self.layers = (CLayer * len(decoder.layers))(*layers)
        self.reads = [-1 if layer.cross is None else layer.cross.layer for layer in decoder.layers]
        self.patterns = [reaching(layer.window) for layer in decoder.layers]
        rounds = any(part.integer for home in self.native for made in home.values() for part in parts(made))
        keys = torch.bfloat16 if rounds else self.dtype
        self.like = torch.empty((heads.keys, 1, heads.dim), dtype=keys, device="cpu")
        cross = next((layer.cross.heads for layer in decoder.layers if layer.cross), None)
        self.other = self.like.new_empty((cross.keys, 1, cross.dim)) if cross else self.like
        last = self._vector(decoder.norm.weight) if decoder.norm else 0
        coded = decoder.embed.native() if isinstance(decoder.embed, Blocks) else None  # looked up as it lies
        self.model = CModel(
            layers=self.layers, embedding=0 if coded else pointer(self._keep(table(decoder.embed)), self.dtype), norm=last,
            head=self._linear({}, "head", decoder.head), table=self._described(coded) if coded else CLinear(),
            count=len(decoder.layers), width=decoder.embed.shape[1],
            heads=heads.queries, kv_heads=heads.keys, dim=heads.dim, ffn=max(layer.gate_up.out for layer in self.layers),
            half=self.dtype is torch.bfloat16, half_keys=keys is torch.bfloat16, eps=decoder.norm.eps if decoder.norm else 0.0,
            cross_heads=cross.queries if cross else 0, cross_kv_heads=cross.keys if cross else 0,
            cross_dim=cross.dim if cross else 0,
        )  # fmt: skip
        self.address = ctypes.byref(self.model)
        self.reading = self.cross_rotary is not None
        self._fill_rope(1)

    def __call__(self, batch: Batch, kv: KV) -> torch.Tensor:
        made = self._prepare(batch, kv)
        if batch.queries is not None:
            shape = (len(self.layers), *batch.tokens.shape, self.model.heads, self.model.dim)
            asked = torch.empty(shape, dtype=torch.float32, device="cpu")
            made.call.queries = pointer(asked, torch.float32)
            batch.queries.extend(asked.transpose(2, 3))
        self._check(self.code.forward(self.address, ctypes.byref(made.call)), batch, kv)
        return made.logits

    def extend(self, batch: Batch, kv: KV, steps: int, stop: Stop, top: int) -> Chains:
        """As `LM.extend` says. All drafted tokens but the last of each row are fed."""
        made, b, calibration = self._prepare(batch, kv, steps), len(batch.slots), stop.calibration
        if made.call.l != b:
            raise ShapeError(f"Expected logits at the end of each of {b} rows, found {made.call.l} places.")
        bins, top, places = len(calibration[0]) if calibration else 0, min(top, self.vocab), steps * b
        table = (ctypes.c_float * (bins * b))(*chain.from_iterable(calibration or ()))
        top_tokens, probs = (ctypes.c_int32 * (places * top))(), (ctypes.c_float * (places * top))()
        fault = self.code.extend(
            self.address, ctypes.byref(made.call), steps, *map(ctypes.c_float, (stop.least, stop.price)), table, bins, top,
            top_tokens, probs,
        )  # fmt: skip
        self._check(fault, batch, kv, steps)
        rows = [[i * top for i in range(row, places, b) if top_tokens[i * top] >= 0] for row in range(b)]
        return [[list(zip(top_tokens[i : i + top], probs[i : i + top], strict=True)) for i in row] for row in rows]

    def _prepare(self, batch: Batch, kv: KV, steps: int = 1) -> Prepared:
        """What the code is told of a forward."""
        (b, t), slots, wanted = self._checked(batch), batch.slots, batch.logits_at
        tokens, end = batch.tokens.contiguous(), batch.end + steps - 1
        kv.check(end)
        self._extend_rope(min(self.context, end + 1))
        groups, places = self._groups(kv, slots)
        held = [self._held(slot, pattern, t + steps - 1) for group in groups for slot, pattern in zip(slots, group, strict=True)]
        others, reads = self._others(slots) if self.reading else ([], [])
        lengths = [(slot.length, 0 if slot.reads is None else slot.reads.length) for slot in slots]
        rows, numbers = array("q", chain(*lengths, *held, *others)), array("i")
        for row in batch.parents or ():
            numbers.extend([*row, *[-1] * (t - len(row))])
        parents = 4 * len(numbers)
        numbers.extend(wanted or ())
        count = b * t if wanted is None else len(wanted)
        logits = torch.empty((count, self.vocab), dtype=self.dtype, device="cpu")
        row_at, number_at = rows.buffer_info()[0], numbers.buffer_info()[0]
        held_at = row_at + 16 * b
        made = CCall(
            pointer(tokens, torch.int64), row_at, held_at, held_at + 48 * len(held) if others else None, places.buffer_info()[0],
            number_at if parents else None, None if wanted is None else number_at + parents, None, pointer(logits, self.dtype),
            len(groups), b, t, count, self.context, self.known, torch.get_num_threads(),
        )  # fmt: skip
        return Prepared(made, logits, (tokens, rows, numbers, reads, places))

    @staticmethod
    def _checked(batch: Batch) -> torch.Size:
        """[B, T], where nothing in a batch points beyond what there is: the code itself looks at ids, positions and trees only.
        Raises ShapeError."""
        (b, t), parents, wanted = batch.tokens.shape, batch.parents, batch.logits_at
        if len(batch.slots) != b:
            raise ShapeError(f"Expected {b} slots, one for each row of tokens, found {len(batch.slots)}.")
        if parents is not None and (len(parents) != b or max(map(len, parents)) > t):
            raise ShapeError(f"Expected parents for {b} rows of at most {t} tokens.")
        if wanted is not None and (len(wanted) > b * t or any(not 0 <= i < b * t for i in wanted)):
            raise ShapeError(f"Expected at most {b * t} places of logits from 0 to {b * t - 1}, found {len(wanted)} from "
                             f"{min(wanted)} to {max(wanted)}.")
        return batch.tokens.shape

    def _check(self, fault: int, batch: Batch, kv: KV, steps: int = 1) -> None:
        """Raise ShapeError for what the code has refused."""
        tokens = batch.tokens
        if fault == NO_MEMORY:
            raise MemoryError(f"There is no memory for a forward of {tokens.numel()} tokens.")
        if fault == NO_TREE:
            raise ShapeError("Expected every token's parent among the tokens before it, or -1.")
        if fault == UNKNOWN_ID:
            raise ShapeError(f"Expected token ids from 0 to {self.known - 1}, found {int(tokens.min())} to {int(tokens.max())}.")
        if fault == TOO_LONG:
            most = max(p for row in Call(batch, kv, self.context).positions for p in row) + steps - 1
            raise ShapeError(f"Expected positions below {self.context}, found {most}: too long a text.")

    def _groups(self, kv: KV, slots: Sequence[Slot]) -> "tuple[list[tuple[Pattern, ...]], array[int]]":
        """Groups of layers that every row holds alike, by the pattern that each row has of them; and of each layer its group. The
        cache keeps them, but for rows with plans of their own.
        """
        key, planned = (self, len(slots)), any(slot.plan for slot in slots)
        if not planned and key in kv.derived:
            return kv.derived[key]
        patterns = [tuple(slot.pattern(layer, usual) for slot in slots) for layer, usual in enumerate(self.patterns)]
        places = {each: place for place, each in enumerate(dict.fromkeys(patterns))}
        found = list(places), array("i", [places[each] for each in patterns])
        if not planned:
            kv.derived[key] = found
        return found

    def _held(self, slot: Slot, pattern: Pattern, width: int) -> Told:
        """What the code is told of a slot's group, which is given room for `width` tokens behind the committed ones."""
        held = slot.group(pattern)
        length = slot.length - held.dropped + width
        known = 0 if held.addresses is None else len(held.addresses)  # a model of fewer layers may have asked before
        if known < len(self.patterns) or held.capacity < length:
            for layer, usual in enumerate(self.patterns):
                if slot.pattern(layer, usual) == pattern:
                    slot.kv.reserve(layer, slot, pattern, self.like, length)
            held.addresses = addresses([held.layers.get(layer) for layer in range(len(self.patterns))], self.like)
        window, since = (pattern.window, pattern.since) if isinstance(pattern, Sliding) else (0, 0)
        return ctypes.addressof(held.addresses), held.capacity, held.dropped, held.sinks, window, since

    def _others(self, slots: Sequence[Slot]) -> tuple[list[Told], list[Any]]:
        """What the code is told of the slots that layers read in another model, as by `_held`, and what must live as long."""
        told, kept = [], []
        for slot in slots:
            if slot.reads is None:
                raise ShapeError("Expected every row of a draft head to read a slot of its target; set Slot.reads.")
            held = [slot.reads.layer(layer) for layer in self.reads]  # none before the target's first forward: nothing is seen
            tensors = [None if h is None else h.layers[layer] for layer, h in zip(self.reads, held, strict=True)]
            kept.append(addresses(tensors, self.other))
            dropped, sinks = max(((h.dropped, h.sinks) for h in held if h is not None), default=(0, 0))
            room = next((x.shape[2] for x in tensors if x is not None), 0)
            told.append((ctypes.addressof(kept[-1]), room, dropped, sinks, 0, 0))
        return told, kept

    def _extend_rope(self, length: int) -> None:
        """Rotations for positions below `length`; older tables are kept, since another thread's call may be reading them."""
        if length <= self.rope_length:
            return
        with self._lock:
            self._fill_rope(length)

    def _fill_rope(self, length: int) -> None:
        self._kept += [table for r in (self.rotary, self.cross_rotary) if r is not None for table in (r.cos, r.sin)]
        self.rotary.reach(length)
        self.rope_length = len(self.rotary.cos)
        self.model.cos, self.model.sin = (pointer(x, torch.float32) for x in (self.rotary.cos, self.rotary.sin))
        if self.cross_rotary is not None:
            self.cross_rotary.reach(length)
            other = self.cross_rotary
            self.model.cross_cos, self.model.cross_sin = (pointer(x, torch.float32) for x in (other.cos, other.sin))

    def _layer(self, index: int, layer: Layer, dim: int) -> CLayer:
        home, cross = self.native[index], layer.cross
        parts = {"qkv": layer.qkv, "o": layer.out, "gate_up": layer.gate_up, "down": layer.down}
        norms = {name: getattr(layer, name, None) for name in (*NORMS, "q_norm", "k_norm")}
        if cross is not None:
            parts |= {"cross_q": cross.q, "cross_o": cross.out}
            norms |= {"before_cross": cross.norm, "cross_norm": cross.q_norm}
        return CLayer(
            **{name: self._linear(home, name, part) for name, part in parts.items()},
            **{name: self._vector(norm.weight) for name, norm in norms.items() if norm is not None},
            norm_heads=layer.q_norm is not None and layer.q_norm.weight.numel() == dim,
            scale=layer.scale, cross_scale=cross.scale if cross else 0.0,
            eps=next(norm.eps for norm in norms.values() if norm is not None),
        )  # fmt: skip

    def _linear(self, home: dict[str, Native], name: str, weights: Weights) -> CLinear:
        """Have weights in the layout of the code and note them in `home`; gate and up are taken together."""
        home[name] = made = native(weights, name == "gate_up")
        described = self._described(made)
        self.weight_bytes += sum(part.tiles.numel() * part.tiles.element_size() for part in parts(made))
        return described

    def _described(self, made: Native) -> CLinear:
        """What the code is told of a linear, and of what follows it in another format."""
        scale, bias = (0 if x is None else self._vector(x) for x in (made.scale, made.bias))
        rest = None if made.rest is None else ctypes.pointer(self._described(made.rest))
        tiles, rounds = self._keep(made.tiles), any(part.integer for part in parts(made))
        return CLinear(pointer(tiles, tiles.dtype), scale, bias, rest, *made.shape, made.kind, rounds)

    def _vector(self, x: torch.Tensor) -> int:
        return pointer(self._keep(x.detach().float()), torch.float32)

    def _keep(self, x: torch.Tensor) -> torch.Tensor:
        self._kept.append(x.contiguous())
        return self._kept[-1]


def pointer(x: torch.Tensor, dtype: torch.dtype) -> int:
    """The address of a tensor that compiled code may read: the one door. Raises ShapeError for any other dtype or device, and for
    one that is not contiguous."""
    if x.dtype is not dtype or x.device.type != "cpu" or not x.is_contiguous():
        rest = "" if x.is_contiguous() else ", not contiguous"
        raise ShapeError(f"Expected a contiguous tensor of {dtype} on the CPU, found {x.dtype} on {x.device.type}{rest}.")
    return x.data_ptr()


def addresses(tensors: Sequence[torch.Tensor | None], like: torch.Tensor) -> Any:
    """Of layers [2, H, capacity, D] that a slot holds, all of one shape, with the heads and the dtype of `like` [H, 1, D]."""
    found, (h, _, d) = [x for x in tensors if x is not None], like.shape
    for x in found:
        if x.shape != found[0].shape or (x.shape[1], x.shape[3]) != (h, d):
            raise ShapeError(f"Expected layers of a cache alike, with {h} heads of {d}, found {list(x.shape)}.")
    return (ctypes.c_void_p * len(tensors))(*(0 if x is None else pointer(x, like.dtype) for x in tensors))


def native(weights: Weights, gated: bool = False) -> Native:
    """Weights in the layout of the code. `unfit` has asked whether they have one."""
    made = weights.native(gated)
    assert made is not None
    return made


def parts(made: Native) -> Iterator[Native]:
    """Itself and what follows it in other formats."""
    following: Native | None = made
    while following is not None:
        yield following
        following = following.rest


def table(embed: Table) -> torch.Tensor:
    """An embedding as rows [ids, W]."""
    return embed.weight if isinstance(embed, Dense) else embed.rows(torch.arange(embed.shape[0], dtype=torch.long, device="cpu"))


def fits(decoder: Decoder) -> str:
    """Why there is no compiled forward of this decoder here; empty where there is one."""
    if why := unfit(decoder):
        return why
    code, why = compiler.library()
    if code is not None and any(code.size_of(i) != ctypes.sizeof(kind) for i, kind in enumerate((CLayer, CModel, CCall))):
        return "the compiled code is of another version of Paceline; restart"
    return why


def build(decoder: Decoder, packed: bool = True) -> Fused:
    """The forward at work, for a decoder that fits. Its weights are always packed, in a layout of its own."""
    code, why = compiler.library()
    if code is None:
        raise ModelError(f"There is no compiled forward: {why}.")
    return Fused(code, decoder)


def unfit(decoder: Decoder) -> str:
    """Why the code does not know this decoder; empty where it does."""
    heads = decoder.heads
    if decoder.embed.rows(torch.zeros(0, dtype=torch.long, device="cpu")).device.type != "cpu" or decoder.dtype not in DTYPES:
        return "the fused forward is for fp32 and bf16 on a CPU"
    if heads.dim % 2:
        return "the fused forward knows heads of even size"
    if decoder.local_rope is not None or decoder.embed_scale != 1.0:
        return "the fused forward knows one rotation for all layers, and no scaled embedding"
    dtypes = {decoder.embed.dtype, decoder.dtype}
    for layer in decoder.layers:
        if layer.act not in ("silu", "swish"):
            return "the fused forward knows the SiLU feed-forward only"
        if any(weights.kernel is None for weights in (layer.qkv, layer.out, layer.gate_up, layer.down)):
            return "the fused forward has no kernel for the format of its weights"
        if getattr(layer.gate_up, "bias", None) is not None:
            return "the fused forward knows the feed-forward without biases only"
        if len({norm.eps for norm in vars(layer).values() if isinstance(norm, Norm)}) != 1:
            return "the fused forward knows layers whose norms share one epsilon"
        dtypes |= {weights.dtype for weights in (layer.qkv, layer.out, layer.gate_up, layer.down)}
    return "" if len(dtypes) == 1 else "this model's weights are of several dtypes"
