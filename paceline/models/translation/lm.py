"""A translator that writes token by token, as a model that the engine decodes: rounds, drafts, batches and seeds are the same.

A request's prompt is the source sentence and BOS; what follows is the translation, up to EOS. The source is encoded when its
translation begins, those of all texts that begin together at once.
"""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from paceline.core.trace import Trace
from paceline.errors import ModelError, RequestError
from paceline.lm import KV, LM
from paceline.lm.attention import Call
from paceline.lm.batch import Batch
from paceline.lm.cost import Costs
from paceline.lm.kv import Slot
from paceline.models.translation.body import Source, padded, side_by_side
from paceline.models.translation.config import BOS, MASK, PAD
from paceline.models.translation.layers import Keys
from paceline.models.translation.markov import Markov
from paceline.models.translation.translator import Translator

__all__ = ["TranslationLM", "parts_of", "prompt_of"]

QUIET = "A translator does not show what its attention asks: use no selector, and a drafter that reads no queries."


def prompt_of(source: Sequence[int]) -> list[int]:
    """What the engine is asked to go on from: a source's ids without marks, and BOS."""
    return [*source, BOS]


def parts_of(tokens: Sequence[int]) -> tuple[list[int], list[int]]:
    """The source in such a prompt, and what has been written behind it."""
    begins = tokens.index(BOS)
    return list(tokens[:begins]), list(tokens[begins + 1 :])


@dataclass(eq=False)
class Read:
    """A source that was read; its keys are made when they are first needed, and shared by all texts that translate it."""

    ids: Sequence[int] = ()
    keys: Source | None = None


class TranslationLM:
    """A translator with what the engine and drafters use of `LM`. order: as for `Asked`.

    Keys of the target live in the engine's cache, where a position counts the source's tokens too: `Slot.first` is where the
    translation begins. A text shares another's keys only where it has the same source, since an encoder reads a sentence as a
    whole. Linears of torch's sum by shape, so logits may differ in their last bits by how many tokens are scored together.
    Raises ModelError for a one-pass model, and for `leak_free="unroll"`, which keeps no keys.
    """

    exact, exact_trees, why_not_exact = False, False, "a translator's sums depend on how many tokens are scored together"
    asked_forward, asked_packed, fingerprint, rope_switch, generation, tokenizer = "stock", False, 0, None, None, None
    backend: Any = SimpleNamespace(extend=None)
    score, extend, grammars = LM.score, LM.extend, LM.grammars

    def __init__(self, translator: Translator, order: int | None = None) -> None:
        model = translator.model
        if not isinstance(model, Markov):
            raise ModelError("The engine decodes models that write token by token; a one-pass model drafts for one: drafter nat.")
        if model.config.leak_free == "unroll":
            raise ModelError("leak_free='unroll' computes each window anew and keeps no keys; train with another, such as "
                             "'transparent'.")
        self.model, self.subwords, self.patterns = model, translator.subwords, dict(enumerate(model.patterns(order)))
        self.vocab, self.dtype, self.device = model.config.vocabulary, model.dtype, model.device
        self.context = self.reach = 2 * model.config.longest + 2  # the source, BOS, the translation, and its end
        self.draft_models: dict[Any, Any] = {}
        self.notes: list[str] = []

    @cached_property
    def costs(self) -> Costs:
        """Measured when first asked for."""
        return Costs(self)

    def cache(self, exact: bool = False) -> KV:
        return KV(capacity=64, quantum=16, limit=self.context + 64, patterns=self.patterns)

    def prefill(self, kv: KV, slot: Slot, tokens: Sequence[int], watch: Container[int] = ()) -> Trace:
        """Commit these tokens: those of the source are noted, those of a translation that is begun go through the decoder. Raises
        ModelError where queries are to be watched.
        """
        if watch:
            raise ModelError(QUIET)
        begun = slot.length > slot.first
        end = 0 if begun else tokens.index(BOS) if BOS in tokens else len(tokens)
        if end:
            before = slot.source.ids if slot.length else ()
            kv.restart(slot, slot.length + end)
            slot.source = Read([*before, *tokens[:end]])
        if target := list(tokens[end:]):
            self.forward(Batch.of([slot], [target], at=()), kv)
            kv.keep([slot], [range(len(target))])
        return Trace()

    @torch.inference_mode()
    def forward(self, batch: Batch, kv: KV) -> Tensor:
        """Logits [tokens asked for, V] of what follows tokens of translations; no mark but EOS follows any.

        Raises RequestError for a translation without a source or beyond the model's length, ModelError for queries.
        """
        if batch.queries is not None:
            raise ModelError(QUIET)
        rows = Rows(self.model, Call(batch, kv, self.context))
        logits = batch.picked(self.model.decode(batch.tokens, rows).flatten(0, 1))
        return logits.index_fill(-1, self._marks, -math.inf)

    @cached_property
    def _marks(self) -> Tensor:
        return torch.tensor([PAD, BOS, MASK], dtype=torch.long, device=self.device)


class Rows:
    """What `Markov.decode` asks of a target's `Cache`, on the engine's keys: rows of any length, chains and trees."""

    def __init__(self, model: Markov, call: Call) -> None:
        self.call, self.longest, self.source = call, model.config.longest, sources(model, call)
        self._visible: dict[Any, Tensor] = {}

    def places(self, count: int) -> Tensor:
        """Of the new tokens in their translations ``[B, T]``; padding beyond the model's length takes the last one."""
        if any(slot.length - slot.first > self.longest for slot in self.call.slots):
            raise RequestError(f"This model writes {self.longest} tokens a sentence: ask for at most that many.")
        rows = zip(self.call.slots, self.call.positions, strict=True)
        found = [[min(p - slot.first, self.longest) for p in row] for slot, row in rows]
        return torch.tensor(found, dtype=torch.long, device=self.source.seen.device)

    def extend(self, layer: int, fresh: Keys) -> tuple[Keys, Tensor]:
        """The layer's keys with the new ones, rows side by side, and the mask ``[B, 1, T, S]`` of what each new token sees."""
        slots, kv = self.call.slots, self.call.kv
        held = [kv.write(layer, slot, k, v) for slot, k, v in zip(slots, *fresh, strict=True)]
        patterns = [slot.pattern(layer) for slot in slots]
        ends = [start - slot.group(pattern).dropped + self.call.width
                for start, slot, pattern in zip(self.call.starts, slots, patterns, strict=True)]
        key, most = tuple(patterns), max(ends)
        if key not in self._visible:
            masks = [self.call.mask(b, patterns[b], end, fresh[0], 1) for b, end in enumerate(ends)]
            self._visible[key] = side_by_side(masks, -1, most, -math.inf)[:, None]
        both = side_by_side([row[:, :, :end] for row, end in zip(held, ends, strict=True)], 2, most, 0.0)
        return (both[:, 0], both[:, 1]), self._visible[key]

    def advance(self, count: int) -> None:
        """The engine commits what it accepts."""


def sources(model: Markov, call: Call) -> Source:
    """Keys of the sources of a batch; those that are new are encoded together, and what rows share is kept for the next round."""
    read = [slot.source for slot in call.slots]
    if None in read:
        raise RequestError("A translation needs a source: make the prompt by prompt_of(ids of the source).")
    if fresh := [each for each in dict.fromkeys(read) if each.keys is None]:
        encoded = model.read(padded([each.ids for each in fresh]).to(model.device))
        for b, each in enumerate(fresh):
            each.keys = encoded.row(b, len(each.ids))
    if len(read) == 1:
        return read[0].keys
    batch, whole = call.kv.derived.get("sources", ((), None))
    if batch != read:
        whole = Source.together([each.keys for each in read])
        call.kv.derived["sources"] = read, whole
    return whole
