"""The lean forward as one call into compiled code (`forward.cpp`), for llama-type models on a CPU.

A small model's decode step is a hundred operators of a few microseconds; one call has none of their overheads, and reads each
weight once for all of a round's tokens. Its sums run in one fixed order for every number of tokens, rows and keys, so what is
drafted and verified, in chains or trees, is plain decoding's text bit for bit; `exactness.py` checks it at load. Where there is
no compiler, or a model is not llama-type, the other forwards serve.
"""

import ctypes
import threading
from array import array
from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple

import torch

from paceline.errors import ShapeError
from paceline.lm.attention import Call
from paceline.lm.forwards.fused import compiler
from paceline.lm.forwards.lean import Layer, Lean, Norm, linears
from paceline.lm.kv import KV, Slot
from paceline.lm.rotary import Rotary
from paceline.lm.weights.layout import Tiled, compact, quantize_int8, tiles
from paceline.lm.weights.linear import Dense, Packed, Restored
from paceline.patterns import Pattern

__all__ = ["Fused", "build"]

NORMS = ("before_attention", "after_attention", "before_cross", "before_mlp", "after_mlp")
MOST_GROUPS = 64  # as in attention.h
UNKNOWN_ID, TOO_LONG, NO_MEMORY, NO_TREE = 1, 2, 3, 4  # faults, as in model.h
DTYPES = (torch.float32, torch.bfloat16)
FAR = 1 << 30  # a position that tells how many keys a pattern keeps
KINDS = {torch.float32: 0, torch.bfloat16: 1, torch.int8: 2}  # of a linear's weights, as in model.h


class CLinear(ctypes.Structure):
    _fields_ = [*((name, ctypes.c_void_p) for name in ("weight", "scale", "bias")),
                *((name, ctypes.c_int32) for name in ("out", "inputs", "kind"))]


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
        *((name, ctypes.c_void_p) for name in ("norm", "cos", "sin", "cross_cos", "cross_sin")), ("head", CLinear),
        *((name, ctypes.c_int32) for name in ("cross_heads", "cross_kv_heads", "cross_dim")),
        *((name, ctypes.c_int32) for name in ("count", "width", "heads", "kv_heads", "dim", "ffn", "half")),
        ("eps", ctypes.c_float),
    ]  # fmt: skip


class CCall(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("tokens", "rows", "held", "read", "reach", "parents", "wanted")),
        *((name, ctypes.c_void_p) for name in ("queries", "logits")),
        *((name, ctypes.c_int32) for name in ("groups", "count", "width", "l", "last", "positions", "known", "threads")),
    ]  # fmt: skip


class Prepared(NamedTuple):
    """A call's description, where its logits will be, and what must live as long."""

    call: CCall
    logits: torch.Tensor
    kept: tuple[Any, ...]


class Fused:
    """`fused(tokens [B, T], call, at) -> logits [len(at), V]` in the weights' dtype, or None where `at` is None."""

    def __init__(self, code: compiler.Code, lean: Lean, head: torch.Tensor, int8: bool) -> None:
        self.int8 = int8
        self.code, self.dtype, self.vocab, self.known = code, head.dtype, head.shape[0], lean.embed.shape[0]
        self.context = lean.context
        floats = torch.zeros(0, dtype=torch.float32, device="cpu")
        self.rotary = Rotary(lean.rotary.module, lean.context, floats)
        self.cross_rotary = None if lean.cross_rotary is None else Rotary(lean.cross_rotary.module, lean.context, floats)
        self._kept: list[torch.Tensor] = []  # whatever the structures point at
        self._lock = threading.Lock()
        self.weight_bytes = 0  # that a decoded token reads
        self.tiled: list[dict[str, Tiled]] = [{} for _ in lean.layers]
        self.layers = (CLayer * len(lean.layers))(*(self._layer(i, layer, lean.head_dim) for i, layer in enumerate(lean.layers)))
        self.reads = [-1 if layer.cross is None else layer.cross.layer for layer in lean.layers]
        self.windows = [layer.window for layer in lean.layers]
        self.like = torch.empty((lean.kv_heads, 1, lean.head_dim), dtype=head.dtype, device="cpu")
        cross = next((layer.cross for layer in lean.layers if layer.cross), None)
        self.other = self.like.new_empty((cross.kv_heads, 1, cross.dim)) if cross else self.like
        last = self._vector(lean.norm.weight) if lean.norm else 0
        self.model = CModel(
            layers=self.layers, embedding=pointer(self._keep(lean.embed), head.dtype), norm=last,
            head=self._linear({}, "head", head, None), count=len(lean.layers), width=lean.embed.shape[1], heads=lean.heads,
            kv_heads=lean.kv_heads, dim=lean.head_dim, ffn=max(layer.gate_up.out for layer in self.layers),
            half=head.dtype is torch.bfloat16, eps=lean.norm.eps if lean.norm else 0.0,
            cross_heads=cross.heads if cross else 0,
            cross_kv_heads=cross.kv_heads if cross else 0, cross_dim=cross.dim if cross else 0,
        )  # fmt: skip
        self.address = ctypes.byref(self.model)
        self.reading = self.cross_rotary is not None
        self._fill_rope(1)

    def __call__(self, tokens: torch.Tensor, call: Call, at: Sequence[int] | slice | None) -> torch.Tensor | None:
        every, wanted = range(tokens.numel()), None
        if at != slice(None):
            wanted = () if at is None else every[at] if isinstance(at, slice) else [every[i] for i in at]
            if len(wanted) > len(every):
                raise ShapeError(f"Expected at most one row of logits for each of {len(every)} tokens, found {len(wanted)}.")
        made = self._prepare(tokens, call, wanted)
        queries = self._query_buffer(call, made.call) if call.queries is not None else None
        self._check(self.code.forward(self.address, ctypes.byref(made.call)), tokens, call)
        if queries is not None and call.queries is not None:
            call.queries += queries.unflatten(1, tokens.shape).transpose(2, 3)
        return made.logits if at is not None else None

    def extend(self, tokens: torch.Tensor, call: Call, at: Sequence[int], steps: int, worth: tuple[float, float],
               calibration: Sequence[Sequence[float]] | None, top: int) -> list[list[list[tuple[int, float]]]]:
        """Greedy continuation: the forward of `tokens [B, T]`, then up to `steps` likeliest tokens for each row, whose last token
        is at `at[b]` among the B * T; all but the last of them are fed. As `LM.extend` says."""
        made = self._prepare(tokens, call, at, steps)
        bins, top, places = len(calibration[0]) if calibration else 0, min(top, self.vocab), steps * len(at)
        table = (ctypes.c_float * (bins * len(at)))(*chain.from_iterable(calibration or ()))
        top_tokens, probs = (ctypes.c_int32 * (places * top))(), (ctypes.c_float * (places * top))()
        fault = self.code.extend(
            self.address, ctypes.byref(made.call), steps, *map(ctypes.c_float, worth), table, bins, top, top_tokens, probs,
        )  # fmt: skip
        self._check(fault, tokens, call, steps)
        rows = [[i * top for i in range(b, places, len(at)) if top_tokens[i * top] >= 0] for b in range(len(at))]
        return [[list(zip(top_tokens[i : i + top], probs[i : i + top], strict=True)) for i in row] for row in rows]

    def _query_buffer(self, call: Call, described: CCall) -> torch.Tensor:
        """Where the code writes this forward's queries [layers, B * T, H, D]."""
        m, (heads, dim) = len(call.slots) * call.width, (self.model.heads, self.model.dim)
        buffer = torch.empty((len(self.layers), m, heads, dim), dtype=torch.float32, device="cpu")
        described.queries = pointer(buffer, torch.float32)
        return buffer

    def _prepare(self, tokens: torch.Tensor, call: Call, wanted: Sequence[int] | None, steps: int = 1) -> Prepared:
        """What the code is told of a forward; wanted: tokens whose logits are asked for, None = all."""
        b, t = self._checked(tokens, call, wanted)
        tokens = tokens.contiguous()
        self._extend_rope(min(self.context, max(call.starts) + t + steps))
        groups, reach = self._groups(call.kv)
        held = [self._held(slot, pattern, layers, t + steps - 1) for pattern, layers in groups.items() for slot in call.slots]
        others, reads = self._others(call) if self.reading else ([], [])
        lengths = [(slot.length, 0 if slot.reads is None else slot.reads.length) for slot in call.slots]
        rows, numbers = array("q", chain(*lengths, *held, *others)), array("i")
        for row in call.parents or ():
            numbers.extend([*row, *[-1] * (t - len(row))])
        parents = 4 * len(numbers)
        numbers.extend(wanted or ())
        count = b * t if wanted is None else len(wanted)
        logits = torch.empty((count, self.vocab), dtype=self.dtype, device="cpu")
        row_at, number_at = rows.buffer_info()[0], numbers.buffer_info()[0]
        held_at = row_at + 16 * b
        made = CCall(
            pointer(tokens, torch.int64), row_at, held_at, held_at + 32 * len(held) if others else None, reach.buffer_info()[0],
            number_at if parents else None, None if wanted is None else number_at + parents, None, pointer(logits, self.dtype),
            len(groups), b, t, count, call.context - 1, self.context, self.known, torch.get_num_threads(),
        )  # fmt: skip
        return Prepared(made, logits, (tokens, rows, numbers, reads))

    @staticmethod
    def _checked(tokens: torch.Tensor, call: Call, wanted: Sequence[int] | None) -> torch.Size:
        """[B, T], where nothing in the call points beyond what there is: the code itself looks at ids, positions and trees only.
        Raises ShapeError."""
        b, t = tokens.shape
        if len(call.slots) != b:
            raise ShapeError(f"Expected {b} slots, one for each row of tokens, found {len(call.slots)}.")
        if call.parents is not None and (len(call.parents) != b or max(map(len, call.parents)) > t):
            raise ShapeError(f"Expected parents for {b} rows of at most {t} tokens.")
        if wanted is not None and any(not 0 <= i < b * t for i in wanted):
            raise ShapeError(f"Expected places of logits from 0 to {b * t - 1}, found {min(wanted)} to {max(wanted)}.")
        return tokens.shape

    def _check(self, fault: int, tokens: torch.Tensor, call: Call, steps: int = 1) -> None:
        """Raise ShapeError for what the code has refused."""
        if fault == NO_MEMORY:
            raise MemoryError(f"There is no memory for a forward of {tokens.numel()} tokens.")
        if fault == NO_TREE:
            raise ShapeError("Expected every token's parent among the tokens before it, or -1.")
        if fault == UNKNOWN_ID:
            raise ShapeError(f"Expected token ids from 0 to {self.known - 1}, found {int(tokens.min())} to {int(tokens.max())}.")
        if fault == TOO_LONG:
            most = max(p for row in call.positions() for p in row) + steps - 1
            raise ShapeError(f"Expected positions below {self.context}, found {most}: too long a text.")

    def _groups(self, kv: KV) -> "tuple[dict[Pattern, list[int]], array[int]]":
        """The layers of each group of a cache, and of each layer its group, place there and window; the cache keeps them."""
        if self not in kv.derived:
            groups: dict[Pattern, list[int]] = {}
            reach = array("i")
            for layer, window in enumerate(self.windows):
                pattern = kv.pattern(layer, window)
                groups.setdefault(pattern, []).append(layer)
                start = pattern.keep(FAR)[1]
                reach.extend((list(groups).index(pattern), len(groups[pattern]) - 1, FAR + 1 - start if start else 0))
            kv.derived[self] = groups, reach
        return kv.derived[self]

    def _held(self, slot: Slot, pattern: Pattern, layers: Sequence[int], width: int) -> tuple[int, int, int, int]:
        """What the code is told of a slot's group, which is given room for `width` tokens behind the committed ones."""
        held = slot.group(pattern)
        length = slot.length - held.dropped + width
        if held.addresses is None or held.capacity < length:
            for layer in layers:
                slot.kv.reserve(layer, slot, pattern, self.like, length)
            held.addresses = addresses([held.layers[layer] for layer in sorted(held.layers)], self.like)
        return ctypes.addressof(held.addresses), held.capacity, held.dropped, held.sinks

    def _others(self, call: Call) -> tuple[list[tuple[int, int, int, int]], list[Any]]:
        """What the code is told of the slots that layers read in another model, as by `_held`, and what must live as long."""
        told, kept = [], []
        for slot in call.slots:
            if slot.reads is None:
                raise ShapeError("Expected every row of a draft head to read a slot of its target; set Slot.reads.")
            held = [slot.reads.layer(layer) for layer in self.reads]  # none before the target's first forward: nothing is seen
            tensors = [None if h is None else h.layers[layer] for layer, h in zip(self.reads, held, strict=True)]
            kept.append(addresses(tensors, self.other))
            dropped = max((h.dropped for h in held if h is not None), default=0)
            told.append((ctypes.addressof(kept[-1]), next((x.shape[2] for x in tensors if x is not None), 0), dropped, 0))
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

    def replace(self, model: Any) -> None:
        """Let the model's layers take their weights from here, so that they are held once; they are made anew at every use."""
        for module, tiled in zip(model.model.layers, self.tiled, strict=True):
            for name, part in linears(module).items():
                name, start = "o" if name == "out" else name, 0
                for linear in part:
                    restore = partial(tiled[name].rows, start, start + linear.out_features, self.dtype)
                    replace_module(module, linear, Restored(restore, linear))
                    start += linear.out_features

    def _layer(self, index: int, layer: Layer, dim: int) -> CLayer:
        home, cross = self.tiled[index], layer.cross
        parts = {"qkv": layer.qkv, "o": layer.out, "gate_up": layer.gate_up, "down": layer.down}
        norms = {name: getattr(layer, name, None) for name in (*NORMS, "q_norm", "k_norm")}
        if cross is not None:
            parts |= {"cross_q": cross.q, "cross_o": cross.out}
            norms |= {"before_cross": cross.norm, "cross_norm": cross.q_norm}
        return CLayer(
            **{name: self._linear(home, name, *dense(part)) for name, part in parts.items()},
            **{name: self._vector(norm.weight) for name, norm in norms.items() if norm is not None},
            norm_heads=layer.q_norm is not None and layer.q_norm.weight.numel() == dim,
            scale=layer.scale, cross_scale=cross.scale if cross else 0.0,
            eps=next(norm.eps for norm in norms.values() if norm is not None),
        )  # fmt: skip

    def _linear(self, home: dict[str, Tiled], name: str, weight: torch.Tensor, bias: torch.Tensor | None) -> CLinear:
        """Tile a weight and note it in `home`; of gate and up, which the code takes together, tiles in turn."""
        gated, scale = name == "gate_up", None
        if self.int8:
            weight, scale = quantize_int8(weight)
        else:
            weight = compact(weight)
        made = self._keep(tiles(weight, gated))
        home[name] = Tiled(made, (weight.shape[0] // (1 + gated), weight.shape[1]), gated)
        self.weight_bytes += made.numel() * made.element_size()
        scales = 0 if scale is None else self._vector(tiles(scale[:, None], gated))
        biases = 0 if bias is None else self._vector(bias)
        return CLinear(pointer(made, weight.dtype), scales, biases, *home[name].shape, KINDS[weight.dtype])

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


def replace_module(parent: torch.nn.Module, old: torch.nn.Module, new: torch.nn.Module) -> None:
    """Put `new` where `old` stands somewhere below `parent`."""
    for module in list(parent.modules()):
        for name, child in list(module.named_children()):
            if child is old:
                setattr(module, name, new)


def dense(linear: Dense | Packed) -> tuple[torch.Tensor, torch.Tensor | None]:
    assert isinstance(linear, Dense)
    return linear.weight, linear.bias


def build(lean: Lean | None, head: torch.Tensor, int8: bool = False) -> tuple[Fused | None, str]:
    """The fused forward of a lean one that stands on dense linears, with its output head's weight; or None, and why.

    int8: weights in int8, for drafting models.
    """
    if lean is None:
        return None, "this family has no lean forward"
    if why := unfit(lean, head):
        return None, why
    code, why = compiler.library()
    if code is None:
        return None, why
    if any(code.size_of(i) != ctypes.sizeof(kind) for i, kind in enumerate((CLayer, CModel, CCall))):
        return None, "the compiled code is of another version of Paceline; restart"
    return Fused(code, lean, head, int8), ""


def unfit(lean: Lean, head: torch.Tensor) -> str:
    """Why this model is not for the fused forward; empty where it is."""
    if head.device.type != "cpu" or head.dtype not in DTYPES:
        return "the fused forward is for fp32 and bf16 on a CPU"
    if lean.head_dim % 2 or lean.heads > MOST_GROUPS * lean.kv_heads:
        return "the fused forward knows heads of even size, at most 64 to a key head"
    dtypes = {lean.embed.dtype, head.dtype}
    for layer in lean.layers:
        if type(layer.act).__name__ not in ("SiLU", "SiLUActivation") and layer.act is not torch.nn.functional.silu:
            return "the fused forward knows the SiLU feed-forward only"
        if dense(layer.gate_up)[1] is not None:
            return "the fused forward knows the feed-forward without biases only"
        if len({norm.eps for norm in vars(layer).values() if isinstance(norm, Norm)}) != 1:
            return "the fused forward knows layers whose norms share one epsilon"
        if layer.cross is not None and layer.cross.heads > MOST_GROUPS * layer.cross.kv_heads:
            return "the fused forward knows at most 64 heads to a key head"
        dtypes |= {linear.dtype for linear in vars(layer).values() if isinstance(linear, Dense)}
    return "" if len(dtypes) == 1 else "this model's weights are of several dtypes"
