"""What a draft head is made of, how it is derived from its target, and how it is written down."""

import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from paceline.errors import DataError, ModelError

__all__ = ["HeadShape", "described", "fingerprint", "shape_for", "shape_of"]


@dataclass(frozen=True)
class HeadShape:
    """What a head is made of.

    width, layers, heads, kv_heads, head_dim, ffn: its own blocks. reads: for each block the target's layer it reads, counted
    from the end (1 = last); empty = a plain small model without cross-attention. target_*: the target's attention. rope, context,
    eps: the target's. cross_norm: norm in front of cross-attention (LongSpec's way; GliDe has none). q_norm: norm the cross
    queries, for targets that norm theirs. tied: output head and embedding are one. block: how far from the target's newest key it
    was trained to draft, in tokens. target: fingerprint of the target it was trained for.
    """

    vocab: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    reads: tuple[int, ...]
    target_heads: int
    target_kv_heads: int
    target_head_dim: int
    rope: dict[str, Any]
    context: int
    eps: float = 1e-6
    cross_norm: bool = False
    q_norm: bool = False
    tied: bool = False
    block: int = 5
    target: int = 0
    method: str = "glide"


def shape_for(lm: Any, *, width: int, heads: int, kv_heads: int, ffn: int, layers: int = 1, reads: Sequence[int] | None = None,
              **options: Any) -> HeadShape:
    """The shape of a head for this target (an `LM` or a transformers model). reads: default its last full-attention layers.

    Raises ModelError where the target's keys are not rotated the usual way, or has too few full-attention layers.
    """
    model = lm.model if hasattr(lm, "text_config") else lm
    config = model.config.get_text_config()
    rope = getattr(config, "rope_parameters", None)
    if not rope or "rope_type" not in rope or float(rope.get("partial_rotary_factor", 1.0)) != 1.0:
        raise ModelError(f"A head needs a target whose keys are rotated whole and in one way; {config.model_type}'s are not.")
    count = config.num_hidden_layers
    kinds = getattr(config, "layer_types", None) or [""] * count  # where no layer is of a kind, all are alike
    full = [count - i for i in range(count) if kinds[i] in ("full_attention", "")]
    chosen = tuple(full[-layers:]) if reads is None else tuple(reads)
    if chosen and (len(chosen) != layers or not set(chosen) <= set(full)):
        raise ModelError(f"A head of {layers} layers reads as many full-attention layers of its target, counted from the end; "
                         f"expected {layers} of {full}, found {list(chosen)}.")
    return HeadShape(
        vocab=model.get_output_embeddings().weight.shape[0], width=width, layers=layers, heads=heads, kv_heads=kv_heads,
        head_dim=width // heads, ffn=ffn, reads=chosen, target_heads=config.num_attention_heads,
        target_kv_heads=config.num_key_value_heads,
        target_head_dim=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads, rope=dict(rope),
        context=config.max_position_embeddings, eps=config.rms_norm_eps, q_norm=config.model_type == "qwen3",
        target=fingerprint(model), **options,
    )  # fmt: skip


def fingerprint(model: Any) -> int:
    """Tells targets apart by their embedding, so a target grown from another is the same."""
    rows = model.get_input_embeddings().weight.detach()[:256].to("cpu", torch.bfloat16).contiguous()
    return zlib.crc32(rows.view(torch.int16).numpy().tobytes())


def described(shape: HeadShape) -> dict[str, Any]:
    """config.json: what speculators' readers look for, and our shape whole."""
    return {
        "speculators_model_type": shape.method, "architectures": ["Head"], "paceline": asdict(shape),
        "transformer_layer_config": {
            "hidden_size": shape.width, "intermediate_size": shape.ffn, "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads, "num_key_value_heads": shape.kv_heads, "head_dim": shape.head_dim,
            "rms_norm_eps": shape.eps, "rope_parameters": shape.rope, "max_position_embeddings": shape.context,
            "vocab_size": shape.vocab, "hidden_act": "silu",
        },
        "speculators_config": {
            "algorithm": shape.method, "default_proposal_method": "greedy",
            "proposal_methods": [{"proposal_type": "greedy", "speculative_tokens": shape.block}],
        },
    }  # fmt: skip


def shape_of(settings: dict[str, Any], folder: Path) -> HeadShape:
    """The shape in a config.json; a key it does not know is an error, not a guess."""
    found = settings.get("paceline")
    known = {field.name for field in fields(HeadShape)}
    if not isinstance(found, dict) or set(found) - known:
        strange = sorted(set(found) - known) if isinstance(found, dict) else "no settings of a head"
        raise DataError(f"{folder}/config.json: expected the settings of a draft head; found {strange}.")
    try:
        return HeadShape(**{**found, "reads": tuple(found["reads"])})
    except (TypeError, KeyError) as error:
        raise DataError(f"{folder}/config.json lacks a setting of a draft head: {error}.") from error
