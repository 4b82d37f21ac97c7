"""OpenVINO GenAI on the CPU: the same GGUF file, read by its own `LLMPipeline`; plain, and its own prompt lookup.

Token ids go in and come out, so no tokenizer takes part. Prompt lookup proposes as many tokens
as its documentation does.
"""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from paceline.api import end_tokens
from paceline.bench.methods import Batch, Method
from paceline.bench.rivals import EXTRA, Terms
from paceline.errors import RequestError
from paceline.lm.sources.gguf import gguf_in

__all__ = ["NAMES", "OpenVINO", "methods", "missing"]

NAMES = ("openvino/plain", "openvino/prompt_lookup")
DRAFTED = {"num_assistant_tokens": 5, "max_ngram_size": 3}  # as its documentation has them


def missing(source: str) -> str:
    if gguf_in(Path(source)) is None:
        return "It is measured on GGUF files alone."
    return "" if importlib.util.find_spec("openvino_genai") else EXTRA


def methods(names: list[str], terms: Terms) -> list[Method]:
    """One pipeline each, since prompt lookup is a property of the pipeline."""
    return [OpenVINO(name, terms) for name in names]


class OpenVINO:
    """One pipeline with as many threads as torch has."""

    def __init__(self, name: str, terms: Terms) -> None:
        import openvino
        import openvino_genai

        self.name, self.terms, self.api, self.tensor = name, terms, openvino_genai, openvino.Tensor
        self.options = DRAFTED if "lookup" in name else {}
        way: dict[str, Any] = {"prompt_lookup": True} if self.options else {}
        way["scheduler_config"] = openvino_genai.SchedulerConfig()  # without its prefix cache, which would skip a repeated prompt
        self.pipeline = openvino_genai.LLMPipeline(terms.source, "CPU", INFERENCE_NUM_THREADS=torch.get_num_threads(), **way)

    def describe(self) -> dict[str, Any]:
        return {"version": self.api.__version__, "threads": torch.get_num_threads(), **self.options}

    def run(self, prompts: list[list[int]], max_new_tokens: int) -> Batch:
        if len(prompts) != 1:
            raise RequestError(f"{self.name} decodes one row at a time; measure it with --rows 1.")
        settings, ids = self._settings(max_new_tokens), self.tensor(np.array(prompts, dtype=np.int64))
        start = time.perf_counter()
        out = self.pipeline.generate(ids, settings)
        return Batch(time.perf_counter() - start, [list(out.tokens[0])])

    def _settings(self, max_new_tokens: int) -> Any:
        settings, sampling = self.api.GenerationConfig(), self.terms.sampling
        given = {"max_new_tokens": max_new_tokens, "stop_token_ids": set(end_tokens(self.terms.lm)), **self.options}
        if not sampling.greedy:
            given |= {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p,
                      "rng_seed": sampling.seed or 0}  # fmt: skip
        for name, value in given.items():
            setattr(settings, name, value)
        return settings

    def count_forwards(self, prompt: list[int], max_new_tokens: int) -> int | None:
        return None
