"""llama.cpp, through `llama-cpp-python`: the same GGUF file; of a model that is none, its weights written to one.

Decoded by the C interface, one `llama_decode` a step, without a tokenizer and, where greedy, without a sampler: its bare speed.
Prompt lookup drafts with the binding's own `LlamaPromptLookupDecoding`, two tokens, which its makers advise on processors, and
verifies them in one `llama_decode`; the binding's own loop computes logits for all tokens of a prompt and is slower.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from paceline.api import end_tokens
from paceline.bench.llama_model import LlamaModel, installed
from paceline.bench.methods import Batch, Method
from paceline.bench.rivals import EXTRA, Terms
from paceline.bench.steps import Steps, ids
from paceline.convert.loss import Logits
from paceline.errors import RequestError

__all__ = ["NAMES", "LlamaCpp", "LlamaSteps", "logits", "methods", "missing", "steps"]

NAMES = ("llama_cpp/plain", "llama_cpp/prompt_lookup")
DRAFTED = 2  # tokens
Draft = Callable[[list[int]], list[int]]


def missing(source: str) -> str:
    return "" if installed() else EXTRA


def methods(names: list[str], terms: Terms) -> list[Method]:
    """All on one opened model."""
    model = LlamaModel.of(terms.source, terms.lm)
    return [LlamaCpp(name, model, terms, _lookup() if "lookup" in name else None) for name in names]


def _lookup() -> Draft:
    import numpy as np
    from llama_cpp.llama_speculative import LlamaPromptLookupDecoding

    lookup = LlamaPromptLookupDecoding(num_pred_tokens=DRAFTED)
    return lambda text: lookup(np.array(text, dtype=np.intc)).tolist()


@dataclass
class LlamaCpp:
    """One way of decoding with it; `draft` proposes tokens behind a text, None = plain."""

    name: str
    model: LlamaModel
    terms: Terms
    draft: Draft | None = None
    forwards: dict[tuple[int, ...], int] = field(default_factory=dict)  # of the last run of a prompt

    def describe(self) -> dict[str, Any]:
        return self.model.describe() | {"drafted": DRAFTED if self.draft else 0}

    def run(self, prompts: list[list[int]], max_new_tokens: int) -> Batch:
        if len(prompts) != 1:
            raise RequestError(f"{self.name} decodes one row at a time; measure it with --rows 1.")
        choose, ends = self.model.chooser(self.terms.sampling), end_tokens(self.terms.lm)
        start = time.perf_counter()
        out = self._decode(prompts[0], max_new_tokens, choose, ends)
        return Batch(time.perf_counter() - start, [out])

    def _decode(self, prompt: list[int], wanted: int, choose: Callable[[int, int], int], ends: frozenset[int]) -> list[int]:
        """Rounds of draft, forward, and the model's own choices as long as they are the drafted ones."""
        self.model.clear()
        self.model.forward(prompt)
        out, rounds = [choose(0, 1)], 1
        while len(out) < wanted and out[-1] not in ends:
            drafted = self.draft(prompt + out)[: wanted - len(out) - 1] if self.draft else []
            self.model.forward([out[-1], *drafted], len(drafted) + 1)
            rounds += 1
            for i, guess in enumerate([*drafted, None]):
                out.append(choose(i, len(drafted) + 1))
                if out[-1] != guess or out[-1] in ends:
                    break
            if drafted:
                self.model.crop(len(prompt) + len(out) - 1)
        self.forwards[tuple(prompt)] = rounds
        return out

    def count_forwards(self, prompt: list[int], max_new_tokens: int) -> int | None:
        return self.forwards.get(tuple(prompt))


def steps(terms: Terms) -> Steps:
    """Its single forwards."""
    return LlamaSteps(LlamaModel.of(terms.source, terms.lm))


def logits(terms: Terms) -> Logits:
    """Of a whole text at once, as it reads prompts."""
    model = LlamaModel.of(terms.source, terms.lm)

    def read(ids: list[int]) -> torch.Tensor:
        model.clear()
        model.forward(ids, len(ids))
        return torch.from_numpy(model.logits(len(ids)))

    return read


@dataclass
class LlamaSteps:
    """A text in one opened model."""

    model: LlamaModel
    length: int = 0

    def describe(self) -> dict[str, Any]:
        return self.model.describe()

    def fill(self, length: int) -> float:
        if length < self.length:
            self.model.clear()
            self.length = 0
        start = time.perf_counter()
        if length > self.length:
            self.model.forward(ids(self.length, length, self.model.vocab))
        self.length = length
        return time.perf_counter() - start

    def step(self, tokens: int) -> float:
        start = time.perf_counter()
        self.model.forward(ids(self.length, self.length + tokens, self.model.vocab), tokens)
        seconds = time.perf_counter() - start
        self.model.crop(self.length)
        return seconds
