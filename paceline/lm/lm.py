"""A causal language model with its weights and no memory: `forward` is the only door to the weights.

Three forwards stand behind it: the stock one of transformers (any family), the lean one (`lean.py`, llama-type layers) and the
fused one (`fused.py`, the same layers in compiled code, on a CPU). The first two attend through `attention.py`; all write into a
`KV` that the caller owns. The model handed in is never changed: the stock forward runs on a twin of its module tree that shares
every weight, or, where that tree is not the plain one, on the model itself (`stock.py`). All compute in the model's own dtypes,
whatever `torch.autocast` surrounds the call.
"""

from collections.abc import Container, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import nn

from paceline.core.grammar import Compiler
from paceline.core.proposal import Proposal
from paceline.errors import ModelError
from paceline.lm.agreement import agreement, stepped
from paceline.lm.attention import Call
from paceline.lm.capture import Trace
from paceline.lm.checked import Checks
from paceline.lm.cost import Costs
from paceline.lm.exactness import BLOCK, TAILS, chain_exactness, tree_exactness
from paceline.lm.forked import survive_forks
from paceline.lm.forwards import lean
from paceline.lm.forwards.fused import forward as fused
from paceline.lm.forwards.stock import Stock, device_of
from paceline.lm.ids import token_ids
from paceline.lm.kv import KV, Slot
from paceline.lm.sources.compatibility import context_of, refuse
from paceline.lm.sources.plain import plain
from paceline.lm.weights.linear import ROWS, Dense, Packed, make, packs, pays
from paceline.lookup.stopping import worthwhile

__all__ = ["FORWARDS", "LM", "pad_rows"]

FORWARDS = ("auto", "fused", "lean", "stock")

CHUNK = 256  # tokens of one prefill forward; fixed, so that a prompt's keys never depend on who asks


class LM:
    """A model, its tokenizer (may be None) and the forward chosen for it.

    forward: "auto" (the fastest that is known here and agrees with the stock one), "fused", "lean" or "stock". packed: keep a
    copy of the weights in the layout that is fastest to read; False leaves stock linears, so "auto" is not fused. replace:
    let that copy take the place of the model's own linear weights, which halves the memory; the model still saves and runs,
    slowly, but can no longer be trained. Raises ModelError for models without a growing key/value cache.
    """

    def __init__(self, model: Any, tokenizer: Any = None, forward: str = "auto", packed: bool = True,
                 replace: bool = False) -> None:
        refuse(model)
        survive_forks()
        self.model, self.tokenizer, self.config = model, tokenizer, model.config
        self.text_config = model.config.get_text_config()
        self.live = plain(model)  # why the model itself runs at every call; "" where a copy of it may
        self.vocab, self.dtype, self.device = facts(model, bool(self.live))
        self.known = min(self.vocab, getattr(self.text_config, "vocab_size", self.vocab))  # ids that it can read
        self.context, self.rope_switch = context_of(self.text_config)
        self.parameters = sum(p.numel() for p in model.parameters())
        self.name = model.config.name_or_path or type(model).__name__
        self.asked_forward, self.asked_packed = forward, packed
        self.notes: list[str] = []
        self.draft_models: dict[Any, Any] = {}  # draft models and heads at work with this one, which outlive an engine
        if forward not in FORWARDS:
            raise ModelError(f"forward must be one of {', '.join(FORWARDS)}; found {forward!r}.")
        self.checks = Checks(self, keep=not self.live)
        self.lean: lean.Lean | None = None
        self.fused: fused.Fused | None = None
        self.head: Dense | Packed | None = None
        self.packed = False
        self.stock = Stock(model, bool(self.live))
        if self.live:
            self._run_live(forward)
        else:
            self._run_copy(forward, packed)
        if replace:
            self._replace()
        self.tails: tuple[int, ...] = TAILS
        self.exact, self.why_not_exact = self.checks("exact", lambda: chain_exactness(self))
        if not self.exact and self.packed:
            self.tails = ()
            self.exact, self.why_not_exact = self.checks("exact without tails", lambda: chain_exactness(self))
        # Side branches too, where keys are taken in the order of the text: only the fused forward does.
        self.exact_trees = self.exact and self.fused is not None and self.checks("exact trees", lambda: tree_exactness(self))
        self.notes += filter(None, [self.checks.note])

    @property
    def forward_name(self) -> str:
        return "fused" if self.fused else "lean" if self.lean else "stock"

    def __repr__(self) -> str:
        return (f"LM({self.name!r}, {self.parameters / 1e6:.3g} M parameters, {str(self.dtype).removeprefix('torch.')} on "
                f"{self.device}, {self.forward_name} forward, vocabulary {self.vocab}, context {self.context})")

    def describe(self) -> dict[str, Any]:
        """What a report says of this model."""
        return {
            "model": self.name, "type": self.text_config.model_type,
            "parameters": self.parameters, "vocabulary": self.vocab, "context": self.context,
            "dtype": str(self.dtype).removeprefix("torch."), "device": self.device.type, "forward": self.forward_name,
            "packed": self.packed or self.fused is not None, "weight_bytes": self.weight_bytes,
            "exact": self.exact, "notes": self.notes,
        }

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights one decoded token reads, as stored: everything but an embedding table that is only looked up."""
        if self.fused is not None:
            return self.fused.weight_bytes
        total = sum(p.numel() * p.element_size() for p in self.model.parameters())
        if self.live:
            return total
        embed, head = self.model.get_input_embeddings().weight, self.model.get_output_embeddings().weight
        return total if embed is head else total - embed.numel() * embed.element_size()

    @cached_property
    def costs(self) -> Costs:
        """What forwards cost here, measured when first asked."""
        return Costs(self)

    @cached_property
    def grammars(self) -> Compiler:
        """Compiles grammars for this model's tokens."""
        return Compiler(self.tokenizer, self.vocab)

    def cache(self, slots: int = 1, exact: bool = False) -> KV:
        """An empty cache for this model; `exact` makes its views bit-exact on CPU (multiples of the kernel's key block)."""
        if exact and self.fused is None:
            return KV(quantum=BLOCK, limit=self.context + BLOCK, tails=self.tails, exact=True)
        return KV(quantum=64, limit=self.context + BLOCK)

    def forward(self, kv: KV, slots: Sequence[Slot], tokens: torch.Tensor, parents: Sequence[Sequence[int]] | None = None,
                at: Sequence[int] | slice | None = slice(None), queries: list[torch.Tensor] | None = None) -> torch.Tensor | None:
        """Run T new tokens of B rows; their keys are written as scratch behind each slot's committed ones.

        tokens [B, T] ids. parents: per row, the parent of each token among the new ones, -1 = the committed prefix; None = a
        chain. at: which of the B * T positions get logits: indices, a slice, or None for none (prefill). queries: a list that
        receives what attention asked, for every layer [B, H, T, D], rotated and scaled.
        Returns logits [len(at), V] in the model's dtype, or None.
        """
        if self.fused is not None:
            call = Call(kv, slots, tokens.shape[1], parents, False, self.rope_switch or self.context)
            call.queries = queries
            return self.fused(tokens, call, at)
        return self._forward(kv, slots, tokens, parents, at, queries)

    @torch.inference_mode()
    def _forward(self, kv: KV, slots: Sequence[Slot], tokens: torch.Tensor, parents: Any, at: Any,
                 queries: list[torch.Tensor] | None) -> torch.Tensor | None:
        exact = kv.exact
        b, t = tokens.shape
        if exact and b > 1 and b * t > ROWS and at is not None:
            return self._in_groups(kv, slots, tokens, parents, at, queries)
        if b * t == 1 and (exact or self.packed):  # a single row takes other kernels, slower ones that add up differently
            tokens, at = tokens.repeat(1, 2), None if at is None else [0]
        call = Call(kv, slots, tokens.shape[1], parents, exact, self.rope_switch or self.context)
        call.queries = None if queries is None else []
        with torch.autocast(self.device.type, enabled=False):
            logits = self._run(tokens.to(self.device), call, at)
        if queries is not None and call.queries is not None:
            queries += [q[:, :, :t] for q in call.queries]
        return logits

    def _run(self, tokens: torch.Tensor, call: Call, at: Any) -> torch.Tensor | None:
        if self.lean is None or self.head is None:
            return self.stock(tokens, call, at)
        hidden = self.lean(tokens, call)
        if at is None:
            return None
        return self.head(hidden if at == slice(None) else hidden[at])

    def extend(self, kv: KV, slots: Sequence[Slot], tokens: Sequence[Sequence[int]], steps: int,
               worth: tuple[float, float] = (0.0, 0.0), calibration: Sequence[Sequence[float]] | None = None,
               top: int = 1) -> list[list[list[tuple[int, float]]]]:
        """Feed each row its tokens, then up to `steps` likeliest ones one after the other. Returns [B][steps or fewer][top]: for
        each step the likeliest tokens with their probabilities, of which the first is the one drafted.

        What a drafting chain needs under greedy decoding. A row ends before the token with which the chance of its path, the
        product of probabilities, or of what `calibration` (of each row) makes of them, in bins of equal width, falls below the
        least of `worth`, or, but for the first token, is not worth the price in it (`lookup/stopping.py`). Committed afterwards:
        the tokens given, all drafted ones but the last.
        """
        padded, at = pad_rows(tokens)
        width = padded.shape[1]
        reach = self.rope_switch or self.context
        if self.fused is not None and max(slot.length for slot in slots) + width + steps <= reach:
            call = Call(kv, slots, width + steps, None, False, reach)
            call.width = width
            chains = self.fused.extend(padded, call, at, steps, worth, calibration, top)
            kv.keep(slots, [range(len(t) + max(0, len(chain) - 1)) for t, chain in zip(tokens, chains, strict=True)])
            return chains
        logits = self.forward(kv, slots, padded, at=at)
        kv.keep(slots, [range(len(t)) for t in tokens])
        lengths = [slot.length for slot in slots]
        chains, paths, going = [[] for _ in tokens], [1.0] * len(tokens), list(range(len(tokens)))
        gains, (least, price) = [1.0] * len(tokens), worth
        for step in range(steps):
            if step:
                logits = self.forward(kv, [slots[i] for i in going], token_ids([[chains[i][-1][0][0]] for i in going]))
                kv.keep([slots[i] for i in going], [range(1)] * len(going))
            assert logits is not None
            shares, ids = (x.tolist() for x in logits.softmax(-1, dtype=torch.float32).topk(min(top, logits.shape[-1])))
            for i, share, token in zip(going, shares, ids, strict=True):
                table = calibration[i] if calibration is not None else None
                paths[i] *= share[0] if table is None else table[min(len(table) - 1, int(share[0] * len(table)))]
                if paths[i] >= least and (step == 0 or worthwhile(paths[i], price, gains[i], 1 + step * price)):
                    chains[i].append(list(zip(token, share, strict=True)))
                    gains[i] += paths[i]
            going = [i for i in going if len(chains[i]) > step]
            if not going:
                break
        for slot, length, chain in zip(slots, lengths, chains, strict=True):  # a row that ended early was fed its last token
            kv.crop(slot, length + max(0, len(chain) - 1))
        return chains

    def _in_groups(self, kv: KV, slots: Sequence[Slot], tokens: torch.Tensor, parents: Any, at: Any,
                   queries: list[torch.Tensor] | None) -> torch.Tensor:
        """The same forward in as many calls as keep the kernels within the number of rows they are exact for."""
        b, t = tokens.shape
        size = max(1, ROWS // t)
        asked: list[list[torch.Tensor]] = [[] for _ in range(0, b, size)]
        out = [self.forward(kv, slots[i : i + size], tokens[i : i + size], parents and parents[i : i + size],
                            queries=None if queries is None else asked[i // size]) for i in range(0, b, size)]
        if queries is not None:
            queries += [torch.cat(parts) for parts in zip(*asked, strict=True)]
        return torch.cat([x for x in out if x is not None])[at]

    def score(self, kv: KV, slots: Sequence[Slot], pending: Sequence[int], proposals: Sequence[Proposal],
              queries: list[torch.Tensor] | None = None) -> list[torch.Tensor]:
        """One forward for all rows: the pending token and its tree. Returns logits [N + 1, V] per row, root first; `queries` as
        in `forward`.
        """
        width = 1 + max(len(p) for p in proposals)
        rows = [[token, *p.tokens, *[token] * (width - 1 - len(p))] for token, p in zip(pending, proposals, strict=True)]
        parents = None
        if not all(p.is_chain for p in proposals):
            parents = [[-1, *(i + 1 for i in p.parents)] for p in proposals]
        sizes = [1 + len(p) for p in proposals]
        at: Any = slice(None)
        if any(size != width for size in sizes):
            at = [b * width + i for b, size in enumerate(sizes) for i in range(size)]
        logits = self.forward(kv, slots, token_ids(rows), parents, at, queries)
        assert logits is not None
        return list(logits.split(sizes))

    def prefill(self, kv: KV, slot: Slot, tokens: Sequence[int], watch: Container[int] = ()) -> Trace:
        """Commit these tokens to a slot in chunks of fixed size, without logits. Returns the queries at positions in `watch`."""
        trace = Trace()
        for start in range(0, len(tokens), CHUNK):
            chunk, first = tokens[start : start + CHUNK], slot.length
            wanted = [i for i in range(len(chunk)) if first + i in watch]
            queries: list[torch.Tensor] = []
            watched: dict[str, Any] = {"queries": queries} if wanted else {}
            self.forward(kv, [slot], token_ids([list(chunk)]), at=None, **watched)
            kv.keep([slot], [range(len(chunk))])
            if wanted:
                trace.add([q[0][:, wanted] for q in queries], [first + i for i in wanted])
        return trace

    def _run_live(self, forward: str) -> None:
        """The stock forward on the model itself."""
        if forward in ("fused", "lean"):
            raise ModelError(f"There is no {forward} forward for a model that is not plain: {self.live}. Use forward='auto'.")
        self.notes.append(f"the model runs live, through its own forward: {self.live}")
        self._agree()

    def _run_copy(self, forward: str, packed: bool) -> None:
        """The fastest forward asked for that agrees with the model's own."""
        if forward == "fused" or (forward == "auto" and packed):
            self._fuse(forward)
        if self.fused is not None:
            return
        if packed and self.device.type == "cpu" and not packs(self.dtype):
            self.notes.append(f"no packed weights: torch cannot pack {self.dtype} on this processor, so its plain linears serve")
        weights = (m.weight for m in self.model.modules() if type(m) is nn.Linear)
        self.packed = packed and self.checks("packing pays", lambda: pays(weights))
        if forward != "stock":
            self._lean(forward)
        if self.lean is None:
            _ = self.stock.model  # made now, so that what is done to the model's modules later does not reach it
            if self.packed:
                self.stock.pack()
            self._agree()

    def _agree(self) -> None:
        if why := self.checks("stock agrees", lambda: agreement(self)):
            kind = f"{type(self.model).__name__} ({self.text_config.model_type})"
            raise ModelError(f"{kind} cannot be decoded token by token with Paceline's cache: {why}; use transformers' generate.")

    def _fuse(self, forward: str) -> None:
        body = lean.build(self.model, False, self.rope_switch or self.context)
        self.fused, why = fused.build(body, self.model.get_output_embeddings().weight.detach())
        if self.fused is not None and (why := self.checks("fused agrees", lambda: agreement(self))):
            self.fused = None
        if self.fused is None and forward == "fused":
            raise ModelError(f"There is no fused forward for this model here: {why}. Use forward='auto'.")
        if self.fused is None:
            self.notes.append(f"no fused forward: {why}")

    def _lean(self, forward: str) -> None:
        self.lean, why = lean.build(self.model, self.packed, self.rope_switch or self.context), "its family is not known to it"
        self.head = make(self.model.get_output_embeddings().weight.detach(), None, self.packed) if self.lean else None
        if self.lean is not None and (why := self.checks("lean agrees", lambda: agreement(self))):
            self.lean = self.head = None
            self.notes.append(f"no lean forward: {why}")
        if self.lean is None and forward == "lean":
            raise ModelError(f"There is no lean forward for {type(self.model).__name__}: {why}. Use forward='stock'.")

    def _replace(self) -> None:
        if self.fused is None:
            why = "; ".join(self.notes or ["leave forward at 'auto'"])
            raise ModelError(f"replace=True needs the fused forward: {why}.")
        for root in (self.model, self.stock.model):
            self.fused.replace(root)


def facts(model: Any, live: bool) -> tuple[int, torch.dtype, torch.device]:
    """How many logits a model gives, its dtype and its device."""
    if live:
        return stepped(model, torch.zeros((1, 1), dtype=torch.long, device="cpu")).shape[-1], model.dtype, device_of(model)
    head = model.get_output_embeddings().weight
    return head.shape[0], head.dtype, head.device


def pad_rows(tokens: Sequence[Sequence[int]]) -> tuple[torch.Tensor, list[int]]:
    """Rows of different lengths as ids [B, T], zeros behind the shorter ones, and where among the B * T each row ends."""
    width = max(map(len, tokens))
    return token_ids([[*t, *[0] * (width - len(t))] for t in tokens]), [b * width + len(t) - 1 for b, t in enumerate(tokens)]
