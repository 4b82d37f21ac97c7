"""GGUF files as tests want them: written byte by byte from the format's description, so that lies can be told, too."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

__all__ = ["fields_of", "tensors_of", "write"]

Stored = tuple[int, tuple[int, ...], bytes]  # type, shape as torch has it, bytes
NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "self_attn.qkv_proj": "attn_qkv", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.gate_up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "post_feedforward_layernorm": "post_ffw_norm",
    "pre_feedforward_layernorm": "ffn_norm",
}  # fmt: skip


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def packed(value: Any) -> bytes:
    """A value with its type before it."""
    if isinstance(value, list):
        kind, each = packed(value[0])[:4], [packed(one)[4:] for one in value]
        return struct.pack("<I", 9) + kind + struct.pack("<Q", len(value)) + b"".join(each)
    if isinstance(value, str):
        return struct.pack("<I", 8) + text(value)
    if isinstance(value, bool):
        return struct.pack("<IB", 7, value)
    return struct.pack("<If", 6, value) if isinstance(value, float) else struct.pack("<II", 4, value)


def write(path: Path, fields: Mapping[str, Any], tensors: Mapping[str, Stored]) -> int:
    """Write a file, and return how long its header is."""
    header, data = [b"GGUF", struct.pack("<IQQ", 3, len(tensors), len(fields))], b""
    header += [text(key) + packed(value) for key, value in fields.items()]
    for name, (kind, shape, raw) in tensors.items():
        header.append(text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape[::-1], kind, len(data)))
        data += raw + bytes(-len(raw) % 32)
    whole = b"".join(header)
    path.write_bytes(whole + bytes(-len(whole) % 32) + data)
    return len(whole)


def fields_of(config: Any, **changes: Any) -> dict[str, Any]:
    """The metadata of a transformers configuration; changes: by key behind the architecture, dots as __."""
    family = {"mistral": "llama", "gemma3_text": "gemma3"}.get(config.model_type, config.model_type)
    rope = config.rope_parameters.get("full_attention", config.rope_parameters)
    found = {
        "block_count": config.num_hidden_layers, "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size, "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads, "attention.head_count_kv": config.num_key_value_heads,
        "attention.key_length": getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
        "attention.layer_norm_rms_epsilon": float(config.rms_norm_eps), "rope.freq_base": rope["rope_theta"],
    }  # fmt: skip
    if config.model_type in ("mistral", "phi3", "gemma3_text") and config.sliding_window:
        found["attention.sliding_window"] = config.sliding_window
    found |= {key.replace("__", "."): value for key, value in changes.items()}
    return {"general.architecture": family, **{f"{family}.{key}": value for key, value in found.items() if value is not None}}


def tensors_of(model: Any) -> dict[str, Stored]:
    """A transformers model's weights in F32, as llama.cpp names and orders them."""
    config, found = model.config, {}
    for name, weight in model.state_dict().items():
        place, ending = renamed(name, config.model_type)
        if place == "output" and config.tie_word_embeddings:
            continue
        if config.model_type in ("llama", "mistral") and place.endswith(("attn_q", "attn_k")):
            heads = config.num_attention_heads if place.endswith("q") else config.num_key_value_heads
            weight = weight.reshape(heads, 2, -1, *weight.shape[1:]).transpose(1, 2).reshape(weight.shape)
        if config.model_type == "gemma3_text" and place.endswith("norm"):
            weight = weight + 1
        found[f"{place}.{ending}"] = (0, tuple(weight.shape), weight.detach().float().contiguous().numpy().tobytes())
    return found


def renamed(name: str, family: str) -> tuple[str, str]:
    """GGUF's name of a weight, and its ending."""
    whole, _, ending = name.rpartition(".")
    if not whole.startswith("model.layers."):
        return {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}[whole], ending
    _, _, layer, part = whole.split(".", 3)
    names = NAMES | ({"post_attention_layernorm": "post_attention_norm"} if family in ("olmo2", "gemma3_text") else {})
    return f"blk.{layer}.{names[part]}", ending


def q8_0(weight: torch.Tensor) -> Stored:
    """A weight [out, in] rounded to Q8_0."""
    blocks = weight.float().unflatten(1, (-1, 32))
    scale = (blocks.abs().amax(-1, keepdim=True) / 127).clamp_min(1e-6).half()
    codes = (blocks / scale.float()).round().to(torch.int8)
    return 8, tuple(weight.shape), torch.cat((scale.view(torch.int8), codes), -1).numpy().tobytes()
