"""The stock forward: transformers' own modules, attending through `attention.py`.

A plain model runs as a twin: a second module tree over the same weights, whose linears may be packed. Any other model is called
itself, live, so that adapters, hooks and wrapped forwards count as they are at each call. Either way attention learns of its
`Call` from a context variable and not from a keyword, which a wrapper may drop; and a window is what the family's own mask says,
since stock attention obeys the mask alone.
"""

import copy
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.modeling_layers import GradientCheckpointingLayer

from paceline.lm.attention import Call, attend
from paceline.lm.batch import Watcher
from paceline.lm.forwards._eager import Eager
from paceline.lm.protocols import Source
from paceline.lm.weights.packed import Packed, PackedLinear, can_pack

__all__ = ["NAME", "Stock", "borrowed", "build"]

NAME = "paceline"  # of our attention among transformers' implementations
SPECIAL = ("softcap", "s_aux")  # keywords that change what attention computes
CURRENT: ContextVar[Call | None] = ContextVar("paceline_call", default=None)
BORROWING = threading.RLock()


class Stock:
    """`stock(call) -> logits [tokens asked for, V]`; live: the model itself, no twin."""

    def __init__(self, given: Any, live: bool, vocab: int) -> None:
        self.model, self.live, self.vocab = given if live else twin(given), live, vocab

    def __call__(self, call: Call) -> torch.Tensor:
        tokens = call.batch.tokens
        positions = torch.tensor(call.positions, dtype=torch.long, device=tokens.device)
        inputs = {"input_ids": tokens, "position_ids": positions, "use_cache": False}
        token = CURRENT.set(call)
        try:
            with borrowed(self.model, NAME) if self.live else nullcontext(), watched(self.model, call.batch.watch):
                whole = self.live and call.batch.watch is None  # what wraps a live model as a whole must see every call
                if call.batch.logits_at == () and not whole:
                    return self.model.base_model(**inputs)[0].new_empty((0, self.vocab))
                logits = self.model(**inputs, return_dict=True).logits
        finally:
            CURRENT.reset(token)
        return call.batch.picked(logits.flatten(0, 1))

    def pack(self) -> None:
        """Replace the plain linears of the twin by packed ones."""
        for module in list(self.model.modules()):
            for name, child in list(module.named_children()):
                if type(child) is nn.Linear and can_pack(child.weight):
                    bias = None if child.bias is None else child.bias.detach()
                    setattr(module, name, PackedLinear(Packed(child.weight, bias), child.out_features))


def build(source: Source, context: int, pack: bool = False) -> Eager:
    """The forward at work on a source's module: on itself where it has to run live. context: positions stay below; pack: with its
    linears packed, where they can be.
    """
    stock = Stock(source.model, bool(source.live), source.vocab)
    if pack:
        stock.pack()
    weight_bytes = sum(p.numel() * p.element_size() for p in source.model.parameters())
    weight_bytes -= 0 if source.live else looked_up(source)
    return Eager("stock", stock, pack, weight_bytes, context, source.device)


def looked_up(source: Source) -> int:
    """Bytes of an embedding that is not the output head too: a decoded token reads a row of it."""
    embed, head = source.embeddings()
    return 0 if embed is None or head is None or embed.data_ptr() == head.data_ptr() else embed.numel() * embed.element_size()


def twin(model: Any) -> Any:
    """A second module tree over the same weights, in eval mode, attending through Paceline."""
    shared: dict[int, Any] = {id(t): t for t in [*model.parameters(), *model.buffers()]}
    copied = copy.deepcopy(model, shared).eval()
    for config in configs(copied):
        config._attn_implementation = NAME
    return copied


@contextmanager
def borrowed(model: Any, attention: str | None = None) -> Iterator[None]:
    """The model somebody handed in, in eval mode and with this attention for the length of one call; then as it was before.

    One borrower at a time. Another thread that calls the model meanwhile gets ordinary attention (see `_attention`).
    """
    with BORROWING:
        training = [m for m in model.modules() if m.training]
        before = [(config, config._attn_implementation_internal) for config in configs(model)]
        try:
            for module in training:
                module.training = False
            for config, old in before:
                config._attn_implementation_internal = attention or old
            yield
        finally:
            for module in training:
                module.training = True
            for config, old in before:
                config._attn_implementation_internal = old


@contextmanager
def watched(model: Any, watch: Watcher | None) -> Iterator[None]:
    """The model's layers tell this watcher, where there is one, what enters them, for the length of one call."""

    def enter(module: Any, args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        assert watch is not None
        watch.enter(args[0] if args else keywords["hidden_states"])

    layers = [] if watch is None else [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)]
    hooks = [layer.register_forward_pre_hook(enter, with_kwargs=True) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def configs(model: Any) -> list[Any]:
    """Every configuration that a module of the tree reads."""
    found = {id(c): c for m in model.modules() if (c := getattr(m, "config", None)) is not None}
    return [c for c in found.values() if hasattr(c, "_attn_implementation_internal")]


@torch.compiler.disable
def _attention(module: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, attention_mask: Any,
               scaling: float | None = None, sliding_window: int | None = None, **keywords: Any) -> tuple[Any, None]:
    """The signature transformers calls."""
    call = CURRENT.get()
    if call is None:  # somebody else's call of a borrowed model
        keywords |= {"scaling": scaling, "sliding_window": sliding_window}
        return AttentionInterface()["sdpa"](module, q, k, v, attention_mask, **keywords)
    special = {name: keywords[name] for name in SPECIAL if keywords.get(name) is not None}
    scale = scaling if scaling is not None else q.shape[-1] ** -0.5
    window = getattr(attention_mask, "window", sliding_window)
    return attend(q, k, v, module.layer_idx, call, scale, window, **special), None


@torch.compiler.disable
def _mask(local_size: int | None = None, **keywords: Any) -> Any:
    """Stands where transformers would build a mask, and tells attention the window of it."""
    if CURRENT.get() is None:
        return AttentionMaskInterface()["sdpa"](local_size=local_size, **keywords)
    mask: Any = torch.ones((1, 1, 1, 1), dtype=torch.bool, device=keywords.get("device"))
    mask.window = local_size
    return mask


AttentionInterface.register(NAME, _attention)
AttentionMaskInterface.register(NAME, _mask)
