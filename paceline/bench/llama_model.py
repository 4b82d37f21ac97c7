"""A model opened by llama.cpp, through `llama-cpp-python` where it is installed: forwards by its C interface."""

from __future__ import annotations

import ctypes
import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from paceline.convert.gguf import model_contents, write
from paceline.core.sampling import Sampling
from paceline.errors import ModelError
from paceline.lm import LM
from paceline.lm.sources.gguf import gguf_in

__all__ = ["LlamaModel", "installed"]

MOST = 8448  # tokens of context: 8,192 and what is drafted behind them
BLOCK = 512  # tokens computed together, its default


def installed() -> bool:
    """Whether this machine has llama.cpp for Python."""
    return importlib.util.find_spec("llama_cpp") is not None


class LlamaModel:
    """A GGUF file in llama.cpp, with as many threads as torch has, flash attention on, and one text in its cache.

    mapped: read the file's pages as they stand; False where the file will go away. Raises ModelError for one that it refuses.
    """

    def __init__(self, path: Path, context: int, mapped: bool = True) -> None:
        import llama_cpp

        self.api, self.context, self.file = llama_cpp, min(context, MOST), path.name
        self.quiet = llama_cpp.llama_log_callback(lambda *_: None)
        llama_cpp.llama_log_set(self.quiet, ctypes.c_void_p(0))
        parameters = llama_cpp.llama_model_default_params()
        parameters.use_mmap = mapped
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), parameters)
        if not self.model:
            raise ModelError("llama.cpp refused the model; it needs a llama-type model of a released architecture.")
        self.state = llama_cpp.llama_init_from_model(self.model, self._settings())
        self.vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))

    @classmethod
    def of(cls, source: str, lm: LM) -> LlamaModel:
        """The GGUF file that `source` names; where it names none, the weights of `lm`, written to one."""
        if path := gguf_in(Path(source)):
            return cls(path, lm.context)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.gguf"
            write(path, model_contents(lm), "bf16" if lm.dtype is torch.bfloat16 else "f32")
            return cls(path, lm.context, mapped=False)

    def _settings(self) -> Any:
        settings = self.api.llama_context_default_params()
        settings.n_ctx = settings.n_batch = self.context
        settings.n_ubatch = BLOCK
        settings.n_threads = settings.n_threads_batch = torch.get_num_threads()
        settings.flash_attn_type = self.api.LLAMA_FLASH_ATTN_TYPE_ENABLED
        return settings

    def describe(self) -> dict[str, Any]:
        kind = ctypes.create_string_buffer(128)
        self.api.llama_model_desc(self.model, kind, len(kind))
        return {"system": self.api.llama_print_system_info().decode(), "file": self.file, "weights": kind.value.decode(),
                "flash_attention": True, "threads": torch.get_num_threads()}

    def clear(self) -> None:
        self.api.llama_memory_clear(self.api.llama_get_memory(self.state), True)

    def crop(self, length: int) -> None:
        """Keep so many tokens of the text."""
        self.api.llama_memory_seq_rm(self.api.llama_get_memory(self.state), 0, length, -1)

    def forward(self, tokens: list[int], rows: int = 1) -> None:
        """Feed tokens; logits are kept of the last `rows`."""
        count = len(tokens)
        ids = (self.api.llama_token * count)(*tokens)  # held here: the batch only points at it
        batch = self.api.llama_batch_get_one(ids, count)
        batch.logits = (ctypes.c_int8 * count)(*[0] * (count - rows), *[1] * rows)
        if self.api.llama_decode(self.state, batch) != 0:
            raise ModelError("llama.cpp could not decode; its context is full or its memory is short.")

    def logits(self, rows: int = 1) -> np.ndarray:
        """[rows, V] of the last forward, fp32; overwritten by the next one."""
        return np.ctypeslib.as_array(self.api.llama_get_logits(self.state), shape=(rows, self.vocab))

    def chooser(self, sampling: Sampling) -> Callable[[int, int], int]:
        """`choose(i, rows)`: the token after row i of the last `rows`; by its own sampler where it is drawn."""
        if sampling.greedy:
            return lambda i, rows: int(self.logits(rows)[i].argmax())
        api = self.api
        chain = api.llama_sampler_chain_init(api.llama_sampler_chain_default_params())
        for part in (api.llama_sampler_init_temp(sampling.temperature), api.llama_sampler_init_top_p(sampling.top_p, 1),
                     api.llama_sampler_init_dist(sampling.seed or 0)):  # fmt: skip
            api.llama_sampler_chain_add(chain, part)
        return lambda i, rows: int(api.llama_sampler_sample(chain, self.state, i - rows))
