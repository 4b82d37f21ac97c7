"""What a GGUF file's metadata says of a model, in the words of transformers' configurations.

Keys: ggml's docs/gguf.md. Whatever changes what is computed and is not known here is refused by name.
"""

import math
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from paceline.core.checks import short
from paceline.errors import ModelError
from paceline.lm.sources.gguf_file import Stored

__all__ = ["FAMILIES", "names_of", "settings_of", "shapes_of"]

FAMILIES = ("gemma3", "llama", "olmo2", "phi3", "qwen2", "qwen3")  # as files name their architecture, where mistral is a llama
WINDOWED = ("gemma3", "llama", "phi3")  # whose window holds for every layer, but for gemma3
NAMES = {  # transformers' names of a layer's weights, and GGUF's
    "self_attn.qkv_proj": "attn_qkv", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_up_proj": "ffn_up", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm",
}  # fmt: skip
OTHERS = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
UNKNOWN = (
    "expert_count", "logit_scale", "residual_scale", "embedding_scale", "attention.scale", "attn_logit_softcapping",
    "final_logit_softcapping", "attention.clamp_kqv", "attention.sliding_window_pattern", "rope.scaling.attn_factor",
    *(f"rope.scaling.yarn_{name}" for name in ("ext_factor", "attn_factor", "beta_fast", "beta_slow", "log_multiplier")),
)  # fmt: skip


def settings_of(fields: Mapping[str, Any], tensors: Mapping[str, Stored]) -> SimpleNamespace:
    """The settings, as attributes. Raises ModelError for what is missing, does not fit together, or is not known here."""
    family = fields.get("general.architecture")
    if family not in FAMILIES:
        raise ModelError(f"its architecture is {short(family)}; expected one of {', '.join(FAMILIES)}")
    width, heads = (number(fields, f"{family}.{name}") for name in ("embedding_length", "attention.head_count"))
    dim = number(fields, f"{family}.attention.key_length", width // heads)
    window = fields.get(f"{family}.attention.sliding_window")
    keys = number(fields, f"{family}.attention.head_count_kv", heads, heads)
    refuse(fields, family, dim)
    if dim % 2 or heads % keys:
        raise ModelError(f"it has {heads} heads of width {dim} on {keys} of keys; expected an even width and whole groups")
    found = SimpleNamespace(
        model_type="mistral" if family == "llama" and window else family, vocab_size=ids_of(fields, tensors), hidden_size=width,
        num_attention_heads=heads, num_key_value_heads=keys, head_dim=dim,
        num_hidden_layers=number(fields, f"{family}.block_count", most=len(tensors)),
        intermediate_size=number(fields, f"{family}.feed_forward_length"),
        max_position_embeddings=number(fields, f"{family}.context_length"),
        rms_norm_eps=float(number(fields, f"{family}.attention.layer_norm_rms_epsilon", most=1.0)),
        hidden_act="silu", sliding_window=window or None, rope_parameters=rope_parameters(fields, family),
    )  # fmt: skip
    if family == "gemma3":
        vars(found).update(gemma(fields, found))
    return found


def gemma(fields: Mapping[str, Any], s: SimpleNamespace) -> dict[str, Any]:
    """What gemma3 has beside or in place of that; where its files say nothing, as its makers have it in every size."""
    every, largest = number(fields, "gemma3.attention.sliding_window_pattern", 6), s.num_hidden_layers == 62
    return {
        "hidden_act": "gelu_pytorch_tanh", "embedding_scale": s.hidden_size**0.5,
        "sliding_window": number(fields, "gemma3.attention.sliding_window"),
        "layer_types": [f"{'sliding' if (i + 1) % every else 'full'}_attention" for i in range(s.num_hidden_layers)],
        "local_rope_parameters": {"rope_theta": number(fields, "gemma3.rope.freq_base_swa", 1e4, math.inf)},
        "query_pre_attn_scalar": s.hidden_size // s.num_attention_heads if largest else s.head_dim,
    }  # fmt: skip


def number(fields: Mapping[str, Any], key: str, default: Any = None, most: int | float = 1 << 31) -> Any:
    """A number above zero; a whole one where `most` is. Raises ModelError where there is none."""
    found, kind = fields.get(key, default), type(most) if isinstance(most, int) else int | float
    if isinstance(found, bool) or not isinstance(found, kind) or not 0 < found <= most:
        raise ModelError(f"its metadata has {key} = {short(found)}, where a number above zero and at most {most} is expected")
    return found


def ids_of(fields: Mapping[str, Any], tensors: Mapping[str, Stored]) -> int:
    """Rows of the embedding. Raises ModelError where the tokenizer has another number of tokens."""
    if "token_embd.weight" not in tensors:
        raise ModelError("it has no tensor 'token_embd.weight'")
    ids, tokens = tensors["token_embd.weight"].shape[0], fields.get("tokenizer.ggml.tokens")
    if tokens is not None and (not isinstance(tokens, list) or len(tokens) != ids):
        found = len(tokens) if isinstance(tokens, list) else "no"
        raise ModelError(f"its embedding has {ids} rows, its tokenizer {found} tokens")
    return ids


def refuse(fields: Mapping[str, Any], family: str, dim: int) -> None:
    """Raise ModelError for a setting that changes what is computed and that Paceline does not know."""
    unknown = [name for name in UNKNOWN if (family, name) != ("gemma3", "attention.sliding_window_pattern")]
    wrong = [name for name in unknown if fields.get(f"{family}.{name}") not in (None, 0, 1)]  # 0 and 1 change nothing
    wrong += [name for name in ("attention.value_length", "rope.dimension_count") if fields.get(f"{family}.{name}", dim) != dim]
    window = fields.get(f"{family}.attention.sliding_window", 0)
    if type(window) is not int or window and family not in WINDOWED:
        wrong.append("attention.sliding_window")
    if wrong:
        told = ", ".join(f"{family}.{name} = {short(fields[f'{family}.{name}'])}" for name in wrong)
        raise ModelError(f"its metadata has {told}, with which Paceline cannot compute it")


def rope_parameters(fields: Mapping[str, Any], family: str) -> dict[str, Any]:
    """As configurations have them. Raises ModelError for a scaling other than linear and YaRN; llama 3's is in a tensor."""
    base, kind = number(fields, f"{family}.rope.freq_base", 1e4, math.inf), fields.get(f"{family}.rope.scaling.type", "none")
    if kind not in ("none", "linear", "yarn"):
        raise ModelError(f"its rotary positions are scaled by {short(kind)}; expected 'linear', 'yarn' or none")
    if kind == "none":
        return {"rope_type": "default", "rope_theta": base}
    made = {"rope_type": kind, "rope_theta": base, "factor": number(fields, f"{family}.rope.scaling.factor", most=math.inf)}
    if kind == "yarn":
        made["original_max_position_embeddings"] = number(fields, f"{family}.rope.scaling.original_context_length")
    return made


def names_of(s: SimpleNamespace) -> dict[str, str]:
    """transformers' names of all weights that such a model may have, without their endings, and GGUF's."""
    names = NAMES | ({"post_attention_layernorm": "post_attention_norm"} if s.model_type in ("olmo2", "gemma3") else {})
    names |= {"pre_feedforward_layernorm": "ffn_norm"} if s.model_type == "gemma3" else {}
    layers = range(s.num_hidden_layers)
    return OTHERS | {f"model.layers.{i}.{ours}": f"blk.{i}.{theirs}" for i in layers for ours, theirs in names.items()}


def shapes_of(s: SimpleNamespace) -> dict[str, tuple[int, ...]]:
    """The shapes of all weights that such a model has, by GGUF's names without the layer; biases where there have to be some."""
    width, inner, dim = s.hidden_size, s.intermediate_size, s.head_dim
    q, k = s.num_attention_heads * dim, s.num_key_value_heads * dim
    olmo, phi, gemma = (s.model_type == family for family in ("olmo2", "phi3", "gemma3"))
    shapes: dict[str, tuple[int, ...]] = {
        "token_embd": (s.vocab_size, width), "output": (s.vocab_size, width), "attn_output": (width, q),
        "ffn_up": (inner * (1 + phi), width), "ffn_down": (width, inner), "output_norm": (width,),
    }  # fmt: skip
    shapes |= {"attn_qkv": (q + 2 * k, width)} if phi else {
        "attn_q": (q, width), "attn_k": (k, width), "attn_v": (k, width), "ffn_gate": (inner, width)}
    shapes |= dict.fromkeys(("post_attention_norm", "post_ffw_norm"), (width,)) if olmo or gemma else {}
    shapes |= {} if olmo else dict.fromkeys(("attn_norm", "ffn_norm"), (width,))
    if s.model_type in ("olmo2", "qwen3", "gemma3"):
        shapes |= {"attn_q_norm": (q if olmo else dim,), "attn_k_norm": (k if olmo else dim,)}
    return shapes | ({"attn_q.bias": (q,), "attn_k.bias": (k,), "attn_v.bias": (k,)} if s.model_type == "qwen2" else {})
