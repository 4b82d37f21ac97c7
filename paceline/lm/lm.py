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
from paceline.lm.batch import Batch
from paceline.lm.checked import Checks
from paceline.lm.choice import choose
from paceline.lm.cost import Costs
from paceline.lm.exactness import BLOCK, TAILS, chain_exactness, tree_exactness
from paceline.lm.fingerprint import ROWS, fingerprint
from paceline.lm.forked import survive_forks
from paceline.lm.kv import KV, Slot
from paceline.lm.protocols import CausalLM, Chains, Forward, Source
from paceline.lm.sources.compatibility import FORWARDS, check_loading, context_of, patterns_of
from paceline.lookup.stopping import Stop

__all__ = ["FORWARDS", "LM"]

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
        self.patterns = patterns_of(self.text_config)
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
        """What forwards cost here: known from an earlier process with as many threads, or measured when first asked."""
        return Costs(self, file=self.checks.beside(f"costs-{torch.get_num_threads()}"))

    @cached_property
    def grammars(self) -> Compiler:
        """Compiles grammars for this model's tokens."""
        return Compiler(self.tokenizer, self.vocab)

    def cache(self, exact: bool = False) -> KV:
        """An empty cache for this model; `exact` makes its views bit-exact on CPU (multiples of the kernel's key block)."""
        if exact and not self.backend.in_order:
            return KV(quantum=BLOCK, limit=self.context + BLOCK, tails=self.tails, exact=True, patterns=self.patterns)
        return KV(quantum=64, limit=self.context + BLOCK, patterns=self.patterns)

    def forward(self: CausalLM, batch: Batch, kv: KV) -> torch.Tensor:
        """Run the new tokens of a batch; their keys are written as scratch behind each slot's committed ones.

        Returns logits [tokens asked for, V] in the model's dtype.
        """
        return self.backend(batch, kv)

    def extend(self: CausalLM, kv: KV, slots: Sequence[Slot], tokens: Sequence[Sequence[int]], steps: int, stop: Stop = Stop(),
               top: int = 1) -> Chains:
        """Feed each row its tokens, then up to `steps` likeliest ones one after the other, until `stop` ends the row. Returns
        [B][steps or fewer][top]: for each step the likeliest tokens with their probabilities; the first is the one drafted.

        What a drafting chain needs under greedy decoding. Committed afterwards: the tokens given, all drafted ones but the last.
        """
        batch = Batch.of(slots, tokens, at=[[len(row) - 1] for row in tokens])
        if self.backend.extend is not None and batch.end + steps <= self.reach:
            chains = self.backend.extend(batch, kv, steps, stop, top)
            kv.keep(slots, [range(len(row) + max(0, len(chain) - 1)) for row, chain in zip(tokens, chains, strict=True)])
            return chains
        logits = self.forward(batch, kv)
        kv.keep(slots, [range(len(row)) for row in tokens])
        chains, going = [[] for _ in tokens], list(range(len(tokens)))
        paths, gains = [1.0] * len(tokens), [1.0] * len(tokens)
        for step in range(steps):
            if step:
                logits = self.forward(Batch.of([slots[i] for i in going], [[chains[i][-1][0][0]] for i in going]), kv)
                kv.keep([slots[i] for i in going], [range(1)] * len(going))
            shares, ids = (x.tolist() for x in logits.softmax(-1, dtype=torch.float32).topk(min(top, logits.shape[-1])))
            for i, share, token in zip(going, shares, ids, strict=True):
                paths[i] *= stop.chance(i, share[0])
                if stop.allows(paths[i], gains[i], step):
                    chains[i].append(list(zip(token, share, strict=True)))
                    gains[i] += paths[i]
                elif step:  # the last token of the chain was fed to see whether it goes on
                    kv.crop(slots[i], slots[i].length - 1)
            going = [i for i in going if len(chains[i]) > step]
            if not going:
                break
        return chains

    def score(self, kv: KV, slots: Sequence[Slot], pending: Sequence[int], proposals: Sequence[Proposal],
              queries: list[torch.Tensor] | None = None) -> list[torch.Tensor]:
        """One forward for all rows: the pending token and its tree. Returns logits [N + 1, V] per row, root first; `queries` as
        in `Batch`.
        """
        rows = [[token, *p.tokens] for token, p in zip(pending, proposals, strict=True)]
        chains = all(p.is_chain for p in proposals)
        parents = None if chains else [[-1, *(i + 1 for i in p.parents)] for p in proposals]
        logits = self.forward(Batch.of(slots, rows, parents, queries=queries), kv)
        return list(logits.split([len(row) for row in rows]))

    def prefill(self, kv: KV, slot: Slot, tokens: Sequence[int], watch: Container[int] = ()) -> Trace:
        """Commit these tokens to a slot in chunks of fixed size, without logits. Returns the queries at positions in `watch`."""
        trace = Trace()
        for start in range(0, len(tokens), CHUNK):
            chunk, first = tokens[start : start + CHUNK], slot.length
            wanted = [i for i in range(len(chunk)) if first + i in watch]
            queries: list[torch.Tensor] | None = [] if wanted else None
            self.forward(Batch.of([slot], [chunk], at=(), queries=queries), kv)
            kv.keep([slot], [range(len(chunk))])
            trace.add([q[0][:, wanted] for q in queries or ()], [first + i for i in wanted])
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
