"""A causal language model with its weights and no memory: `forward` is the only door to the weights.

A source (`sources/`) says what the model is, a forward (`forwards/`) computes it: the stock one of transformers (any family), the
lean one (llama's kind) or the fused one (the same in compiled code, on a CPU). `LM` holds one of each and never asks which; all
write into a `KV` that the caller owns. The model handed in is never changed, and computes in its own dtypes, whatever
`torch.autocast` surrounds the call.
"""

from collections.abc import Container, Sequence
from functools import cached_property
from typing import Any

import torch

from paceline.core.grammar import Compiler
from paceline.core.proposal import Proposal
from paceline.core.trace import Trace
from paceline.errors import ModelError
from paceline.lm.attention import Call
from paceline.lm.checked import Checks
from paceline.lm.choice import choose
from paceline.lm.cost import Costs
from paceline.lm.exactness import BLOCK, TAILS, chain_exactness, tree_exactness
from paceline.lm.fingerprint import ROWS, fingerprint
from paceline.lm.forked import survive_forks
from paceline.lm.ids import token_ids
from paceline.lm.kv import KV, Slot
from paceline.lm.protocols import CausalLM, Chains, Forward, Source
from paceline.lm.sources.compatibility import FORWARDS, check_loading, context_of
from paceline.lookup.stopping import worthwhile

__all__ = ["FORWARDS", "LM", "pad_rows"]

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
        check_loading(tokenizer, forward, packed)
        survive_forks()
        self.source, self.tokenizer = source_of(model), tokenizer
        self.text_config, self.name = self.source.settings, self.source.name
        self.vocab, self.dtype, self.device = self.source.vocab, self.source.dtype, self.source.device
        self.known = min(self.vocab, getattr(self.text_config, "vocab_size", self.vocab))  # ids that it can read
        self.context, self.rope_switch = context_of(self.text_config)
        self.reach = self.rope_switch or self.context  # of forwards whose positions are tabled
        self.parameters, self.asked_forward, self.asked_packed = self.source.parameters, forward, packed
        self.notes: list[str] = []
        self.draft_models: dict[Any, Any] = {}  # at work with this one, and their allowance: they outlive an engine
        self.checks = Checks(self, keep=not self.source.live)
        self.backend: Forward
        choose(self, forward, packed)
        if replace:
            self._replace()
        self.tails: tuple[int, ...] = TAILS
        self.exact, self.why_not_exact = self.checks("exact", lambda: chain_exactness(self))
        if not self.exact and self.backend.packed:
            self.tails = ()
            self.exact, self.why_not_exact = self.checks("exact without tails", lambda: chain_exactness(self))
        # Side branches too, where keys are taken in the order of the text.
        self.exact_trees = self.exact and self.backend.in_order and self.checks("exact trees", lambda: tree_exactness(self))
        self.notes += filter(None, [self.checks.note])
        self.source.release()

    @property
    def model(self) -> Any:
        """The transformers module; of a folder it is made when first asked for."""
        return self.source.model

    @property
    def generation(self) -> Any:
        """Its generation config, where it has one."""
        return self.source.generation

    @property
    def forward_name(self) -> str:
        return self.backend.name

    @cached_property
    def fingerprint(self) -> int:
        """Tells targets apart, for draft heads; 0 where the embedding is out of reach."""
        return fingerprint(self.source.first_embeddings(ROWS))

    def __repr__(self) -> str:
        return (f"LM({self.name!r}, {self.parameters / 1e6:.3g} M parameters, {str(self.dtype).removeprefix('torch.')} on "
                f"{self.device}, {self.forward_name} forward, vocabulary {self.vocab}, context {self.context})")

    def describe(self) -> dict[str, Any]:
        """What a report says of this model."""
        return {
            "model": self.name, "type": self.text_config.model_type,
            "parameters": self.parameters, "vocabulary": self.vocab, "context": self.context,
            "dtype": str(self.dtype).removeprefix("torch."), "device": self.device.type, "forward": self.forward_name,
            "packed": self.backend.packed, "weight_bytes": self.weight_bytes,
            "exact": self.exact, "notes": self.notes, **self.source.stored(),
        }

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights one decoded token reads, as stored: everything but an embedding table that is only looked up."""
        return self.backend.weight_bytes

    @cached_property
    def costs(self) -> Costs:
        """What forwards cost here, measured when first asked."""
        return Costs(self)

    @cached_property
    def grammars(self) -> Compiler:
        """Compiles grammars for this model's tokens."""
        return Compiler(self.tokenizer, self.vocab)

    def cache(self, exact: bool = False) -> KV:
        """An empty cache for this model; `exact` makes its views bit-exact on CPU (multiples of the kernel's key block)."""
        if exact and not self.backend.in_order:
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
        call = Call(kv, slots, tokens.shape[1], parents, kv.exact, self.reach)
        call.queries = queries
        return self.backend(tokens, call, at)

    def extend(self: CausalLM, kv: KV, slots: Sequence[Slot], tokens: Sequence[Sequence[int]], steps: int,
               worth: tuple[float, float] = (0.0, 0.0), calibration: Sequence[Sequence[float]] | None = None,
               top: int = 1) -> Chains:
        """Feed each row its tokens, then up to `steps` likeliest ones one after the other. Returns [B][steps or fewer][top]: for
        each step the likeliest tokens with their probabilities, of which the first is the one drafted.

        What a drafting chain needs under greedy decoding. A row ends before the token with which the chance of its path, the
        product of probabilities, or of what `calibration` (of each row) makes of them, in bins of equal width, falls below the
        least of `worth`, or, but for the first token, is not worth the price in it (`lookup/stopping.py`). Committed afterwards:
        the tokens given, all drafted ones but the last.
        """
        padded, at = pad_rows(tokens)
        width = padded.shape[1]
        if self.backend.chains and max(slot.length for slot in slots) + width + steps <= self.reach:
            call = Call(kv, slots, width + steps, None, False, self.reach)
            call.width = width
            chains = self.backend.extend(padded, call, at, steps, worth, calibration, top)
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

    def _replace(self) -> None:
        if self.backend.name != "fused":
            why = "; ".join(self.notes or ["leave forward at 'auto'"])
            raise ModelError(f"replace=True needs the fused forward: {why}.")
        self.source.hand_over(self.backend)


def source_of(model: Any) -> Source:
    """A source as it is; a transformers model as one."""
    if not isinstance(model, torch.nn.Module):
        return model
    from paceline.lm.sources.transformers import Module

    return Module(model)


def pad_rows(tokens: Sequence[Sequence[int]]) -> tuple[torch.Tensor, list[int]]:
    """Rows of different lengths as ids [B, T], zeros behind the shorter ones, and where among the B * T each row ends."""
    width = max(map(len, tokens))
    return token_ids([[*t, *[0] * (width - len(t))] for t in tokens]), [b * width + len(t) - 1 for b, t in enumerate(tokens)]
