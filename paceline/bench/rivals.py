"""The stock library as a rival: `generate` of transformers on an untouched copy of the same weights.

The copy is loaded afresh from the same files, in the same dtype, with transformers' fused attention (sdpa); class names
and the attention setting are recorded, and anything that is not transformers' own is refused.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from paceline import plugins
from paceline.api import NEUTRAL
from paceline.bench.methods import Batch, Method
from paceline.errors import ModelError, RequestError, did_you_mean
from paceline.lm import LM
from paceline.lm.grow import grow
from paceline.lm.load import quiet, resolve

__all__ = ["NAMES", "Transformers", "Weights", "check_names", "rivals", "stock"]

NAMES = (
    "transformers/plain",
    "transformers/prompt_lookup",
    "transformers/assisted",
    "transformers/assisted_heuristic",
    "llama_cpp",
)


@dataclass(frozen=True)
class Weights:
    """Where a rival takes its weights from: the files of our target `lm`, and to how many million parameters it was
    grown.
    """

    source: str
    lm: LM
    grown: float | None = None


def stock(weights: Weights) -> Any:
    """A fresh transformers model in the dtype and on the device of our target, checked to be nothing but transformers."""
    from transformers import AutoModelForCausalLM, logging

    logging.set_verbosity_error()
    lm = weights.lm
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(weights.source, dtype=lm.dtype, attn_implementation="sdpa").eval()
    if weights.grown is not None:
        model = grow(model, weights.grown * 1e6)
    foreign = {type(m).__name__ for m in model.modules() if not type(m).__module__.startswith(("transformers.", "torch."))}
    if foreign:
        raise ModelError(f"A rival must be stock transformers; found the module classes {sorted(foreign)}.")
    return model.to(lm.device)


@dataclass
class Transformers:
    """One way of calling `model.generate`: `options` go to it, `assistant` is its draft model."""

    name: str
    model: Any
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
        config = self.model.generation_config
        pad = config.pad_token_id if config.pad_token_id is not None else 0
        for name in NEUTRAL.keys() & vars(config).keys():  # like with like: our side is called without them too
            setattr(config, name, None)
        helper = {} if self.assistant is None else {"assistant_model": self.assistant}
        return self.model.generate(
            ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=max_new_tokens, pad_token_id=pad,
            **helper, **self.options,
        )  # fmt: skip

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


def check_names(wanted: tuple[str, ...]) -> None:
    """Raise RequestError, with the nearest name, for a rival there is not."""
    for name in wanted:
        if name not in (*NAMES, "transformers"):
            raise RequestError(f"There is no rival {name!r}.{did_you_mean(name, (*NAMES, 'transformers'))}")


def rivals(wanted: tuple[str, ...], weights: Weights, drafters: tuple[str, ...]) -> list[Method]:
    """The rivals named: a whole family (`transformers`) or one of `NAMES`; those that need a draft model only where one
    is given.

    Draft lengths are ours: prompt lookup and assisted generation propose as many tokens as the `ngram` and
    `small_model` specs say.
    """
    check_names(wanted)
    names = [n for n in NAMES if n in wanted or ("transformers" in wanted and n.startswith("transformers/"))]
    model = stock(weights) if any(n.startswith("transformers/") for n in names) else None
    found: list[Method] = []
    for name in names:
        if name == "llama_cpp":
            from paceline.bench.llama_cpp import LlamaCpp

            found.append(LlamaCpp(weights.lm))
        elif "assisted" in name:
            pair = _pair(drafters)
            found += [Transformers(name, model, {}, _assistant(name, *pair, weights.lm))] if pair else []
        else:
            lookup = {"prompt_lookup_num_tokens": _lookup_length(drafters)} if "lookup" in name else {}
            found.append(Transformers(name, model, lookup))
    return found


def _pair(drafters: tuple[str, ...]) -> tuple[str, int] | None:
    """Draft model and draft length of the `small_model` spec that always drafts its full length, else of the first one."""
    specs = [options for name, options in map(plugins.parse, drafters) if name == "small_model"]
    specs.sort(key=lambda options: options.get("worth") not in ("0", "0.0"))
    return (specs[0]["model"], int(specs[0].get("length", _default("small_model", "length")))) if specs else None


def _lookup_length(drafters: tuple[str, ...]) -> int:
    for spec in drafters:
        name, options = plugins.parse(spec)
        if name == "ngram" and "length" in options:
            return int(options["length"])
    return int(_default("ngram", "length"))


def _default(drafter: str, option: str) -> Any:
    return next(f.default for f in plugins.load("drafter", drafter).__dataclass_fields__.values() if f.name == option)


def _assistant(name: str, source: str, length: int, lm: LM) -> Any:
    """The draft model as assisted generation takes it, starting at our draft length.

    Constant: exactly that length every round. Heuristic: up two or down one by success, kept from call to call, and the
    library's early stop below a confidence of 0.4.
    """
    assistant = stock(Weights(resolve(source), lm))
    settings = assistant.generation_config
    settings.num_assistant_tokens = length
    settings.num_assistant_tokens_schedule = "heuristic" if name.endswith("heuristic") else "constant"
    settings.assistant_confidence_threshold = 0.4 if name.endswith("heuristic") else 0.0
    return assistant
