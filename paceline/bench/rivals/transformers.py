"""The stock library: `generate` of transformers on an untouched copy of the same weights.

The copy is loaded afresh from the same files, in the same dtype (of a GGUF file: dequantised, in fp32), with transformers' fused
attention (sdpa); class names and the attention setting are recorded, and anything that is not transformers' own is refused.
"""

from __future__ import annotations

import importlib.util
import time
from contextlib import redirect_stderr
from dataclasses import dataclass, field, replace
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import nn

from paceline import plugins
from paceline.api import NEUTRAL, end_tokens
from paceline.bench.methods import Batch, Method
from paceline.bench.rivals import EXTRA, Terms, draft_length
from paceline.bench.steps import Steps, ids
from paceline.convert.loss import Logits
from paceline.errors import ModelError, RequestError
from paceline.lm.grow import grow
from paceline.lm.load import quiet, resolve
from paceline.lm.sources.gguf import gguf_in

__all__ = ["NAMES", "Transformers", "TransformersSteps", "logits", "methods", "missing", "steps", "stock"]

NAMES = (
    "transformers/plain",
    "transformers/prompt_lookup",
    "transformers/assisted",
    "transformers/assisted_heuristic",
)


def missing(source: str) -> str:
    """Paceline stands on it; GGUF files it reads with one package more."""
    needs = gguf_in(Path(source)) is not None and importlib.util.find_spec("accelerate") is None
    return f"It reads GGUF files with accelerate. {EXTRA}" if needs else ""


def stock(terms: Terms) -> Any:
    """A fresh transformers model in the dtype and on the device of our target, checked to be nothing but transformers."""
    from transformers import AutoModelForCausalLM, logging

    logging.set_verbosity_error()
    where, options = _place(terms)
    with quiet(), redirect_stderr(StringIO()):  # a bar of its own for GGUF files
        model = AutoModelForCausalLM.from_pretrained(where, attn_implementation="sdpa", **options).eval()
    if terms.grown is not None:
        model = grow(model, terms.grown * 1e6)
    foreign = {type(m).__name__ for m in model.modules() if not type(m).__module__.startswith(("transformers.", "torch."))}
    if foreign:
        raise ModelError(f"A rival must be stock transformers; found the module classes {sorted(foreign)}.")
    return model.to(terms.lm.device)


def _place(terms: Terms) -> tuple[str, dict[str, Any]]:
    """What `from_pretrained` is given."""
    path = gguf_in(Path(terms.source))
    if path is None:
        return terms.source, {"dtype": terms.lm.dtype}
    return str(path.parent), {"gguf_file": path.name, "dtype": torch.float32}


@dataclass
class Transformers:
    """One way of calling `model.generate`: `options` go to it, `assistant` is its draft model."""

    name: str
    model: Any
    terms: Terms
    options: dict[str, Any] = field(default_factory=dict)
    assistant: Any = None

    def describe(self) -> dict[str, Any]:
        linears = {type(m).__name__ for m in self.model.modules() if isinstance(m, nn.Linear)}
        settings = {} if self.assistant is None else self.assistant.generation_config.to_diff_dict()
        return {
            "class": f"{type(self.model).__module__}.{type(self.model).__name__}",
            "attention": self.model.config._attn_implementation,
            "linears": sorted(linears),
            "dtype": str(self.model.dtype).removeprefix("torch."),
            "options": self.options,
            "assistant": {k: v for k, v in settings.items() if "assistant" in k},
        }

    def run(self, prompts: list[list[int]], max_new_tokens: int) -> Batch:
        if len(prompts) != 1:
            raise RequestError(f"{self.name} decodes one row at a time; measure it with --rows 1.")
        ids = torch.tensor(prompts, device=self.model.device)
        start = time.perf_counter()
        out = self._generate(ids, max_new_tokens)
        return Batch(time.perf_counter() - start, [out[0, ids.shape[1] :].tolist()])

    def _generate(self, ids: torch.Tensor, max_new_tokens: int) -> torch.Tensor:
        config, helper = self.model.generation_config, {} if self.assistant is None else {"assistant_model": self.assistant}
        pad = config.pad_token_id if config.pad_token_id is not None else 0
        for name in NEUTRAL.keys() & vars(config).keys():  # like with like: our side is called without them too
            setattr(config, name, None)
        return self.model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=max_new_tokens, pad_token_id=pad,
            eos_token_id=sorted(end_tokens(self.terms.lm)) or None, **self._choice(), **helper, **self.options,
        )  # fmt: skip

    def _choice(self) -> dict[str, Any]:
        sampling = self.terms.sampling
        if sampling.greedy:
            return {"do_sample": False}
        torch.manual_seed(sampling.seed or 0)
        return {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}

    def count_forwards(self, prompt: list[int], max_new_tokens: int) -> int | None:
        """Calls of the target's forward, counted by a hook in a run of its own so that timed runs carry none."""
        calls = 0

        def count(*_: Any) -> None:
            nonlocal calls
            calls += 1

        handle = self.model.register_forward_pre_hook(count)
        try:
            self._generate(torch.tensor([prompt], device=self.model.device), max_new_tokens)
        finally:
            handle.remove()
        return calls


def methods(names: list[str], terms: Terms) -> list[Method]:
    """All on one copy. Draft lengths are ours: prompt lookup and assisted generation propose as many tokens as the `ngram` and
    `small_model` specs say; without such a draft model there is no assisted generation.
    """
    model, found = stock(terms), list[Method]()
    for name in names:
        if "assisted" in name:
            pair = _pair(terms.drafters)
            found += [Transformers(name, model, terms, {}, _assistant(name, *pair, terms))] if pair else []
        else:
            lookup = {"prompt_lookup_num_tokens": _lookup_length(terms.drafters)} if "lookup" in name else {}
            found.append(Transformers(name, model, terms, lookup))
    return found


def _pair(drafters: tuple[str, ...]) -> tuple[str, int] | None:
    """Draft model and draft length of the `small_model` spec that always drafts its full length, else of the first one."""
    specs = [options for name, options in map(plugins.parse, drafters) if name == "small_model"]
    specs.sort(key=lambda options: options.get("worth") not in ("0", "0.0"))
    return (specs[0]["model"], draft_length("small_model", specs[0])) if specs else None


def _lookup_length(drafters: tuple[str, ...]) -> int:
    given = [options for name, options in map(plugins.parse, drafters) if name == "ngram" and "length" in options]
    return draft_length("ngram", given[0] if given else {})


def _assistant(name: str, source: str, length: int, terms: Terms) -> Any:
    """The draft model as assisted generation takes it, starting at our draft length.

    Constant: exactly that length every round. Heuristic: up two or down one by success, kept from call to call, and the
    library's early stop below a confidence of 0.4.
    """
    assistant = stock(replace(terms, source=resolve(source), grown=None))
    settings = assistant.generation_config
    settings.num_assistant_tokens = length
    settings.num_assistant_tokens_schedule = "heuristic" if name.endswith("heuristic") else "constant"
    settings.assistant_confidence_threshold = 0.4 if name.endswith("heuristic") else 0.0
    return assistant


def steps(terms: Terms) -> Steps:
    """Its single forwards."""
    return TransformersSteps(stock(terms), terms.lm.known)


def logits(terms: Terms) -> Logits:
    """Of a whole text at once."""
    model = stock(terms)

    @torch.inference_mode()
    def read(ids: list[int]) -> torch.Tensor:
        return model(torch.tensor([ids], device=model.device), use_cache=False).logits[0]

    return read


class TransformersSteps:
    """A text in its growing cache."""

    def __init__(self, model: Any, known: int) -> None:
        self.model, self.known = model, known
        self.cache: Any = None

    def describe(self) -> dict[str, Any]:
        return {"dtype": str(self.model.dtype).removeprefix("torch."), "attention": self.model.config._attn_implementation}

    def fill(self, length: int) -> float:
        if length < self._length():
            self.cache = None
        return self._forward(length - self._length(), 1) if length > self._length() else 0.0

    def step(self, tokens: int) -> float:
        seconds = self._forward(tokens, tokens)
        self.cache.crop(-tokens)
        return seconds

    def _length(self) -> int:
        return 0 if self.cache is None else self.cache.get_seq_length()

    @torch.inference_mode()
    def _forward(self, tokens: int, logits: int) -> float:
        before = self._length()
        given = torch.tensor([ids(before, before + tokens, self.known)], device=self.model.device)
        start = time.perf_counter()
        self.cache = self.model(given, past_key_values=self.cache, use_cache=True, logits_to_keep=logits).past_key_values
        return time.perf_counter() - start
