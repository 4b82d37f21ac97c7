"""Which models the engine can decode, in which ways, and how far."""

from typing import Any

import torch

from paceline.core.checks import short
from paceline.errors import ModelError
from paceline.lm.forwards import NAMES
from paceline.patterns import Pattern
from paceline.patterns.sliding import Sliding

__all__ = ["FORWARDS", "check_causal", "check_loading", "context_of", "device_of", "patterns_of", "refuse", "window_of"]

FORWARDS = ("auto", *NAMES)


def check_loading(tokenizer: Any, forward: Any = "auto", packed: Any = True) -> None:
    """Raise ModelError for a way to load a model that there is not."""
    if forward not in FORWARDS:
        raise ModelError(f"forward must be one of {', '.join(FORWARDS)}; found {forward!r}.")
    if not isinstance(packed, bool):
        raise ModelError(f"packed must be True or False; found {packed!r}.")
    if tokenizer is not None and not (callable(tokenizer) and hasattr(tokenizer, "decode")):
        raise ModelError("tokenizer must be a tokenizer of transformers, like AutoTokenizer.from_pretrained(…); found "
                         f"{short(tokenizer)}.")


def check_causal(model: Any) -> None:
    """Raise ModelError for what is no decoder-only model of transformers."""
    config: Any = getattr(model, "config", None)
    name = type(model).__name__
    if not hasattr(config, "get_text_config"):
        raise ModelError(f"{name} is not a transformers model; expected one made by AutoModelForCausalLM (a wrapper such as "
                         "DataParallel holds it as `.module`).")
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError(f"{name} is an encoder-decoder; expected a decoder-only causal language model.")
    if getattr(model, "get_output_embeddings", lambda: None)() is None:
        raise ModelError(f"{name} has no output head; load it with AutoModelForCausalLM.")


def refuse(model: Any) -> None:
    """Raise ModelError for models that the engine cannot decode."""
    check_causal(model)
    config, name = model.config, type(model).__name__
    tuned = list((getattr(model, "peft_config", None) or {}).values())
    if any(getattr(one, "is_prompt_learning", False) for one in tuned):
        raise ModelError(f"{name} puts trained tokens before every prompt (prompt or prefix tuning), which Paceline's cache does "
                         "not hold; use transformers' generate, or an adapter of another kind such as LoRA.")
    if any(getattr(one, "alora_invocation_tokens", None) for one in tuned):
        raise ModelError(f"{name} has an activated LoRA, which looks for its invocation tokens in each call, while Paceline's "
                         "hold the newest tokens alone; use transformers' generate, or another kind of adapter such as LoRA.")
    kinds = set(getattr(config.get_text_config(), "layer_types", None) or ())
    recurrent = kinds - {"full_attention", "sliding_attention"}
    if getattr(model, "_is_stateful", False) or recurrent or not hasattr(model, "_supports_attention_backend"):
        what = f" ({', '.join(sorted(recurrent))} layers)" if recurrent else ""
        raise ModelError(f"{name} keeps a recurrent state{what}, which cannot be rolled back to an earlier token; "
                         "expected plain attention layers.")
    if not model._supports_attention_backend:
        raise ModelError(f"{name} does not support transformers' attention interface; Paceline needs it.")


def context_of(config: Any) -> tuple[int, int | None]:
    """(longest sequence, length at which its rotary embedding changes or None)."""
    context = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None) or 1 << 20
    rope = getattr(config, "rope_parameters", None) or {}
    each = [rope, *(v for v in rope.values() if isinstance(v, dict))]  # some models keep one set per type of layer
    switches = []
    for one in each:
        original = one.get("original_max_position_embeddings") or getattr(config, "original_max_position_embeddings", None)
        if one.get("rope_type") == "dynamic":
            switches.append(int(context))
        elif one.get("rope_type") == "longrope":
            switches.append(int(original or context))
    return context, min(switches, default=None)


def window_of(config: Any) -> Sliding | None:
    """What the layers of a model see that have a window, with the first keys where a converted model's configuration says so in
    our own words (`convert/hybrid.py`); None where there is no window.
    """
    window = getattr(config, "sliding_window", None)
    return None if window is None else Sliding(window, (getattr(config, "paceline", None) or {}).get("sinks", 0))


def patterns_of(config: Any) -> dict[int, Pattern]:
    """Of layers whose window keeps the first keys, too."""
    window, kinds = window_of(config), enumerate(getattr(config, "layer_types", None) or ())
    return {layer: window for layer, kind in kinds if window and window.sinks and kind == "sliding_attention"}


def device_of(model: Any) -> torch.device:
    """Where a model takes its tokens; hooks carry them on where its weights are offloaded."""
    return torch.device("cpu") if model.device.type == "meta" else model.device
