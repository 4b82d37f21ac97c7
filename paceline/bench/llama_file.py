"""The same weights as a GGUF file: llama.cpp's names and its order of rotary pairs. Needs the package gguf to write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from paceline.errors import ModelError
from paceline.lm import LM

__all__ = ["gguf_at", "gguf_tensors", "interleave", "write_gguf"]


def gguf_at(source: str) -> Path | None:
    """The GGUF file that a source names; None for any other."""
    path = Path(source)
    return path if path.suffix == ".gguf" and path.is_file() else None


def write_gguf(lm: LM, path: Path) -> None:
    """The model in llama.cpp's file format, weights in the dtype they have; llama-type models only, else ModelError."""
    import gguf

    config, weights = lm.text_config, {k: v.detach().cpu() for k, v in lm.model.state_dict().items()}
    if config.model_type != "llama":
        raise ModelError(f"The rival llama_cpp takes llama-type models; found {config.model_type!r}.")
    if config.tie_word_embeddings:
        weights.pop("lm_head.weight", None)  # without one, llama.cpp takes the embedding, as the model does
    widths = [weights[f"model.layers.{i}.mlp.up_proj.weight"].shape[0] for i in range(config.num_hidden_layers)]
    # Layers of different widths exist there only under the name of a family that has them; its blocks are llama's.
    writer = gguf.GGUFWriter(path, "llama" if len(set(widths)) == 1 else "deci")
    _describe(writer, config, widths)
    writer.add_vocab_size(lm.vocab)
    for name, tensor in gguf_tensors(weights, config.num_attention_heads, config.num_key_value_heads):
        writer.add_tensor(name, *_array(tensor, gguf))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _describe(writer: Any, config: Any, widths: list[int]) -> None:
    """Sizes and constants; one number each where all layers agree, a list where they do not."""
    heads, groups, layers = config.num_attention_heads, config.num_key_value_heads, len(widths)
    same, width = len(set(widths)) == 1, getattr(config, "head_dim", None) or config.hidden_size // heads
    writer.add_block_count(layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(widths[0] if same else widths)
    writer.add_head_count(heads if same else [heads] * layers)
    writer.add_head_count_kv(groups if same else [groups] * layers)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(width)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_tokenizer_model("no_vocab")


NAMES = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def gguf_tensors(weights: dict[str, torch.Tensor], heads: int, groups: int) -> list[tuple[str, torch.Tensor]]:
    """(name there, tensor) for every weight; queries and keys reordered, since rotary pairs are neighbours there."""
    top = {"model.embed_tokens.weight": "token_embd", "model.norm.weight": "output_norm", "lm_head.weight": "output"}
    out = []
    for name, tensor in weights.items():
        if name in top:
            out.append((f"{top[name]}.weight", tensor))
            continue
        _, _, layer, rest = name.split(".", 3)
        kind = NAMES[rest.removesuffix(".weight")]
        if kind in ("attn_q", "attn_k"):
            tensor = interleave(tensor, heads if kind == "attn_q" else groups)
        out.append((f"blk.{layer}.{kind}.weight", tensor))
    return out


def interleave(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of each head from halves (i, i + d/2) to neighbours (2i, 2i + 1)."""
    rows, columns = weight.shape
    return weight.view(heads, 2, rows // heads // 2, columns).transpose(1, 2).reshape(rows, columns)


def _array(tensor: torch.Tensor, gguf: Any) -> tuple[Any, ...]:
    """A numpy array as GGUF stores it: vectors in fp32, bf16 matrices as their bits."""
    if tensor.dtype == torch.bfloat16 and tensor.dim() > 1:
        bits = tensor.contiguous().view(torch.uint8).numpy()
        return bits, None, gguf.GGMLQuantizationType.BF16
    return (tensor.float().numpy() if tensor.dim() == 1 else tensor.numpy(),)
