"""llama.cpp as a rival, through `llama-cpp-python` where it is installed: the same weights, written to a GGUF file.

Greedy decoding by its C interface, one `llama_decode` a token, the next token by argmax of its logits: its bare speed,
without a sampler or a tokenizer. Llama-type models only, since their tensors have a known layout there.
"""

from __future__ import annotations

import ctypes
import importlib.util
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from paceline.api import end_tokens
from paceline.bench.llama_file import write_gguf
from paceline.bench.methods import Batch
from paceline.errors import ModelError, RequestError
from paceline.lm import KV, LM
from paceline.lm.batch import Batch as TokenBatch

__all__ = ["LlamaCpp", "forward_seconds", "installed"]

EXTRA = "Install the extra that brings llama.cpp: pip install 'paceline[rivals]'."


def installed() -> bool:
    """Whether this machine has llama.cpp for Python, and what writes its files."""
    return all(importlib.util.find_spec(name) for name in ("llama_cpp", "gguf"))


class LlamaCpp:
    """One model in llama.cpp, with as many threads as torch has."""

    name = "llama_cpp"

    def __init__(self, lm: LM) -> None:
        if not installed():
            raise RequestError(f"The rival llama_cpp is not installed. {EXTRA}")
        import llama_cpp

        self.api, self.lm, self.context = llama_cpp, lm, min(lm.context, 4096)
        self.quiet = llama_cpp.llama_log_callback(lambda *_: None)
        llama_cpp.llama_log_set(self.quiet, ctypes.c_void_p(0))
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.gguf"
            write_gguf(lm, path)
            parameters = llama_cpp.llama_model_default_params()
            parameters.use_mmap = False  # the file is gone once it is read
            self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
        if not self.model:
            raise ModelError("llama.cpp refused the model; it needs a llama-type model of a released architecture.")
        self.state = llama_cpp.llama_init_from_model(self.model, self._settings())

    def _settings(self) -> Any:
        settings = self.api.llama_context_default_params()
        settings.n_ctx = settings.n_batch = settings.n_ubatch = self.context
        settings.n_threads = settings.n_threads_batch = torch.get_num_threads()
        return settings

    def describe(self) -> dict[str, Any]:
        return {
            "system": self.api.llama_print_system_info().decode(),
            "dtype": str(self.lm.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
        }

    def run(self, prompts: list[list[int]], max_new_tokens: int) -> Batch:
        if len(prompts) != 1:
            raise RequestError("llama_cpp decodes one row at a time; measure it with --rows 1.")
        ends, out = end_tokens(self.lm), list[int]()
        start = time.perf_counter()
        self.clear()
        logits = self.forward(prompts[0])
        while len(out) < max_new_tokens:
            out.append(int(logits.argmax()))
            if out[-1] in ends or len(out) == max_new_tokens:
                break
            logits = self.forward(out[-1:])
        return Batch(time.perf_counter() - start, [out])

    def count_forwards(self, prompt: list[int], max_new_tokens: int) -> int | None:
        return None

    def clear(self) -> None:
        self.api.llama_memory_clear(self.api.llama_get_memory(self.state), True)

    def forward(self, tokens: list[int]) -> np.ndarray:
        """Feed tokens; the logits [V] after the last one, fp32."""
        ids = (self.api.llama_token * len(tokens))(*tokens)
        if self.api.llama_decode(self.state, self.api.llama_batch_get_one(ids, len(tokens))) != 0:
            raise ModelError("llama.cpp could not decode; its context is full or its memory is short.")
        return np.ctypeslib.as_array(self.api.llama_get_logits_ith(self.state, -1), shape=(self.lm.vocab,))

    def seconds(self, tokens: int, context: int, repeats: int) -> float:
        """Median seconds of one forward of `tokens` new tokens behind `context` others."""
        memory, found = self.api.llama_get_memory(self.state), []
        self.clear()
        self.forward([1] * context)
        for _ in range(repeats):
            start = time.perf_counter()
            self.forward([1] * tokens)
            found.append(time.perf_counter() - start)
            self.api.llama_memory_seq_rm(memory, 0, context, -1)
        return statistics.median(found)


def forward_seconds(lm: LM, rival: LlamaCpp, sizes: tuple[int, ...] = (1, 8), context: int = 256) -> dict[str, Any]:
    """Median seconds of one forward of 1 and of 8 tokens (a plain step, a verify), ours and llama.cpp's, taken in
    turns.
    """
    kv = lm.cache(lm.exact)
    slot = kv.take()
    lm.prefill(kv, slot, [1] * context)
    found: dict[str, Any] = {"context": context}
    for size in sizes:
        asked = TokenBatch.of([slot], [[1] * size])
        ours, theirs = [], []
        for _ in range(7):
            ours.append(_ours(lm, asked, kv))
            theirs.append(rival.seconds(size, context, 5))
        found[str(size)] = {"paceline": statistics.median(ours), "llama_cpp": statistics.median(theirs)}
    return found


def _ours(lm: LM, asked: TokenBatch, kv: KV, repeats: int = 5) -> float:
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        lm.forward(asked, kv)  # written as scratch behind the slot, so nothing has to be taken back
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
