"""What a transformers configuration says of a model, in the words of GGUF (ggml's docs/gguf.md)."""

from collections.abc import Sequence
from typing import Any

from paceline.errors import ModelError
from paceline.lm.rotary import rope_of
from paceline.lm.sources.llama import FAMILIES

__all__ = ["refuse", "settings_of"]

ONE_WINDOW = ("mistral", "phi3")  # theirs holds for every layer
ROTATIONS = ("default", "linear", "llama3")  # that are written


def settings_of(config: Any, inner: Sequence[int]) -> dict[str, Any]:
    """Metadata, key -> value, of a model that `refuse` lets pass. inner: width of each layer's feed-forward."""
    heads, keys, parameters = config.num_attention_heads, config.num_key_value_heads, config.rope_parameters
    dim, same = getattr(config, "head_dim", None) or config.hidden_size // heads, len(set(inner)) == 1
    # Layers of different widths exist there only under the name of a family that has them; its blocks are llama's.
    family = ("llama" if config.model_type == "mistral" else config.model_type) if same else "deci"
    found = {
        "block_count": len(inner), "context_length": config.max_position_embeddings, "embedding_length": config.hidden_size,
        "feed_forward_length": inner[0] if same else list(inner), "vocab_size": config.vocab_size,
        "attention.head_count": heads if same else [heads] * len(inner),
        "attention.head_count_kv": keys if same else [keys] * len(inner),
        "attention.key_length": dim, "attention.value_length": dim, "rope.dimension_count": dim,
        "attention.layer_norm_rms_epsilon": float(config.rms_norm_eps), "rope.freq_base": float(parameters["rope_theta"]),
    }  # fmt: skip
    if parameters.get("rope_type") == "linear":
        found |= {"rope.scaling.type": "linear", "rope.scaling.factor": float(parameters["factor"])}
    if config.model_type in ONE_WINDOW and config.sliding_window:
        found["attention.sliding_window"] = config.sliding_window
    return {"general.architecture": family, **{f"{family}.{key}": value for key, value in found.items()}}


def refuse(config: Any) -> None:
    """Raise ModelError for a model that cannot be told in these words: llama.cpp would compute another one."""
    kind = config.model_type
    if kind not in FAMILIES:
        raise ModelError(f"Models of the type {kind} cannot be written as a GGUF file; known are {', '.join(FAMILIES)}.")
    windows = kind not in ONE_WINDOW and "sliding_attention" in (getattr(config, "layer_types", None) or ())
    rotation = config.rope_parameters.get("rope_type", "default")
    wrong = [what for what, found in (
        (f"the activation {config.hidden_act}", config.hidden_act != "silu"),
        ("windows in some of its layers", windows),
        (f"rotary positions of the kind {rotation}", rotation not in ROTATIONS or rope_of(config.rope_parameters, 2) is None),
    ) if found]  # fmt: skip
    if wrong:
        raise ModelError(f"This model of the type {kind} has {' and '.join(wrong)}, which cannot be told in a GGUF file.")
