"""Flags that several verbs share, which model and how to decode, and the few lines that act on them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import typer

import paceline
from paceline import plugins
from paceline.cli._flags import flag
from paceline.cli._output import say
from paceline.core.progress import waiting
from paceline.core.sampling import Sampling
from paceline.rules import is_lossless

__all__ = ["MODEL", "Decoding", "ModelChoice", "as_prompt", "chosen", "default_model", "departure", "open_model"]

MOST_THREADS = 1024
MODEL = "smol, zoo:NAME, a hub id, a folder, or a GGUF file; smol where it is installed, else zoo:tiny."


@dataclass(frozen=True)
class ModelChoice:
    """Which weights, in which number format, on which forward."""

    model: str | None = flag(None, MODEL)
    dtype: str | None = flag(None, "float32, bfloat16 or float16; the checkpoint's own (float32 for the zoo) if not given.")
    forward: str = flag("auto", "auto, fused (compiled: llama types on a CPU), lean (the same in torch) or stock.")
    weights: str | None = flag(None, "u4 or i8: round the linears to 4 or 8 bits.")
    activations: str | None = flag(None, "int8 (the default) or float: what quantised linears make of their inputs.")
    threads: int | None = flag(None, "CPU threads; as torch has them if not given.")

    def __post_init__(self) -> None:
        if self.threads is not None and not 1 <= self.threads <= MOST_THREADS:
            raise typer.BadParameter(f"--threads must be 1 to {MOST_THREADS}; found {self.threads}.")

    @property
    def name(self) -> str:
        return chosen(self.model)


@dataclass(frozen=True)
class Decoding:
    """How to decode: plug-in specs and limits."""

    drafter: str = flag("auto", "Drafter spec, like ngram or small_model:model=NAME; auto drafts where it pays, none is plain.")
    budget: int | None = flag(None, "Most drafted tokens scored in one round.")
    controller: str | None = flag(None, "Controller spec, instead of --budget.")
    rule: str = flag("lossless", "Rule spec: how drafted tokens are judged.")
    selector: str | None = flag(None, "Let layers keep few keys of a long prompt, as lighttransfer:keep=0.5 chooses them: less "
                                      "memory, and another text than the whole model's.")
    max_new_tokens: int = flag(128, "Stop after this many new tokens.")
    stop: list[str] = flag([], "End the text before this string; may be given again.")
    exact: bool | None = flag(None, "Bit-for-bit the plain text, where this machine can promise it.", "--exact/--no-exact")

    def settings(self) -> dict[str, Any]:
        """Keyword arguments of an engine, for `paceline.generate` and `paceline.stream`."""
        if self.budget is not None and self.controller is not None:
            raise typer.BadParameter("--budget and --controller are two ways to say the same; give one.")
        from paceline.engine.auto import (  # here, since it imports the models' libraries, which --help has no use for
            check,
            limited,
        )

        check(self.drafter)
        for kind, spec in (("rule", self.rule), ("controller", self.controller), ("selector", self.selector)):
            if spec is not None:
                plugins.make(kind, spec)  # a mistake in a spec should not cost a load
        return {
            "drafter": self.drafter,
            "rule": self.rule,
            "controller": self.controller or limited(self.drafter, self.budget),
            "exact": self.exact,
        }

    def options(self, sampling: Sampling, **others: Any) -> paceline.RequestOptions:
        """What is asked of each request; others: further fields of `RequestOptions`."""
        return paceline.RequestOptions(sampling, self.max_new_tokens, self.stop, selector=self.selector, **others)


def chosen(model: str | None) -> str:
    """The model of that name; where none is given, the real one, or the embedded one where that is not installed."""
    return default_model() if model is None else model


@cache
def default_model() -> str:
    """What verbs run on where no model is named; the lesser choice is told once."""
    from paceline.lm.places import (  # here, since it imports torch, which --help has no use for
        INSTALL,
        SMOL,
        smol_is_installed,
    )

    if smol_is_installed():
        return SMOL
    say(f"{SMOL!r} is not installed, so this runs on zoo:tiny, which writes little sense; get it with: {INSTALL}")
    return "zoo:tiny"


def open_model(choice: ModelChoice) -> paceline.LM:
    """`paceline.load` as the flags ask, on as many threads of this process as they ask."""
    if choice.threads is not None:
        import torch

        torch.set_num_threads(choice.threads)
    with waiting(f"loading {choice.name}"):
        return paceline.load(choice.name, dtype=choice.dtype, forward=choice.forward, weights=choice.weights,
                             activations=choice.activations)


def as_prompt(text: str, chat: bool) -> Any:
    """The prompt as the engine takes it: text, or a message that goes through the model's chat template."""
    return [{"role": "user", "content": text}] if chat else text


def departure(rule: str, generations: list[paceline.Generation]) -> str:
    """What to say of texts that a relaxed rule let out, or of which layers kept few keys; nothing for a lossless one."""
    said = []
    if not is_lossless(plugins.make("rule", rule)):
        spent = ", ".join(f"{g.stats.spent:.3f}" for g in generations)
        said.append(f"NOT LOSSLESS: under the rule {plugins.parse(rule)[0]} the output does not follow the model's own law. "
                    f"Total variation spent, for each output (the mean bounds it; 1 or more says nothing): {spent}.")
    if any(g.stats.cut_layers for g in generations):
        cut = "; ".join(", ".join(map(str, g.stats.cut_layers)) or "none" for g in generations)
        saved = sum(g.stats.saved_bytes for g in generations) / 1e6
        said.append("NOT LOSSLESS: behind the prompt some layers saw only the first and the last keys, as --selector asks; for "
                    f"each output these: {cut}. Keys and values let go: {saved:.4g} MB.")
    return " ".join(said)
