"""What a draft head is made of, how it is derived from its target, and how it is written down."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from paceline.errors import DataError, ModelError
from paceline.lm import LM
from paceline.lm.fingerprint import fingerprint

__all__ = ["HeadShape", "described", "longspec_shape", "shape_for", "shape_of", "target_of"]


@dataclass(frozen=True)
class HeadShape:
    """What a head is made of.

    width, layers, heads, kv_heads, head_dim, ffn: its own blocks. reads: for each block the target's layer it reads, counted
    from the end (1 = last); empty = a plain small model without cross-attention. target_*: the target's attention. rope, context,
    eps: the target's. cross_norm: norm in front of cross-attention (LongSpec's way; GliDe has none). q_norm: norm the cross
    queries, for targets that norm theirs. tied: output head and embedding are one. block: how far from the target's newest key it
    was trained to draft, in tokens. target: fingerprint of the target it was trained for. window: keys a token's self-attention
    sees, itself included; 0 = all. bias: queries, keys and values have one. shared: its embedding and output head are the
    target's. final_norm: norm in front of the output head. GliDe's paper has the defaults, LongSpec's: window, bias, shared,
    cross_norm and no final norm.
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
    window: int = 0
    bias: bool = False
    shared: bool = False
    final_norm: bool = True


def shape_for(lm: Any, *, width: int, heads: int, kv_heads: int, ffn: int, layers: int = 1, reads: Sequence[int] | None = None,
              head_dim: int | None = None, **options: Any) -> HeadShape:
    """The shape of a head for this target (an `LM` or a transformers model). reads: default its last full-attention layers.

    Raises ModelError where the target's keys are not rotated the usual way, or has too few full-attention layers.
    """
    config, vocab, target = target_of(lm)
    rope = config.rope_parameters
    count = config.num_hidden_layers
    kinds = getattr(config, "layer_types", None) or [""] * count  # where no layer is of a kind, all are alike
    full = [count - i for i in range(count) if kinds[i] in ("full_attention", "")]
    if not full:
        raise ModelError(f"A head reads a full-attention layer of its target; {config.model_type}'s {count} layers have none.")
    chosen = tuple(full[-layers:]) if reads is None else tuple(reads)
    if chosen and (len(chosen) != layers or not set(chosen) <= set(full)):
        raise ModelError(f"A head of {layers} layers reads as many full-attention layers of its target, counted from the end; "
                         f"expected {layers} of {full}, found {list(chosen)}.")
    size = head_dim or width // heads
    if size % 2 or heads % kv_heads or (head_dim is None and width % heads):
        raise ModelError(f"A head needs an even head size and query heads in groups; found width {width}, {heads} heads, "
                         f"{kv_heads} key heads.")
    if options.get("shared") and options.get("tied"):
        raise ModelError("A head that shares its target's embedding and output head has none of its own to tie.")
    if options.get("shared") and width != config.hidden_size:
        raise ModelError("A head that shares its target's embedding is as wide as it: expected width "
                         f"{config.hidden_size}, found {width}.")
    return HeadShape(
        vocab=vocab, width=width, layers=layers, heads=heads, kv_heads=kv_heads,
        head_dim=size, ffn=ffn, reads=chosen, target_heads=config.num_attention_heads,
        target_kv_heads=config.num_key_value_heads,
        target_head_dim=getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads, rope=dict(rope),
        context=config.max_position_embeddings, eps=config.rms_norm_eps, q_norm=config.model_type == "qwen3",
        target=target, **options,
    )  # fmt: skip


def longspec_shape(lm: Any, **options: Any) -> HeadShape:
    """The shape of LongSpec's drafter: one block like the target's own, with a window, and the target's embedding and head.

    Source: arXiv 2502.17421, section 3, and its official code: biases on queries, keys and values, a norm before cross-attention,
    none before the output head. Departure: the window counts the token itself (theirs sees 513 keys at 512).
    """
    config, _, _ = target_of(lm)
    own = {"width": config.hidden_size, "heads": config.num_attention_heads, "kv_heads": config.num_key_value_heads,
           "ffn": config.intermediate_size, "head_dim": getattr(config, "head_dim", None), "window": 512, "bias": True,
           "shared": True, "cross_norm": True, "final_norm": False, "method": "longspec"}
    return shape_for(lm, **{**own, **options})


def target_of(lm: Any) -> tuple[Any, int, int]:
    """Settings, number of logits and fingerprint of a target, an `LM` or a transformers model. Raises ModelError for one that
    heads cannot read.
    """
    if isinstance(lm, LM):
        return readable(lm.text_config), lm.vocab, lm.fingerprint
    embedding = getattr(lm.get_input_embeddings(), "weight", None)
    return readable(lm.config.get_text_config()), lm.get_output_embeddings().weight.shape[0], fingerprint(embedding)


def readable(config: Any) -> Any:
    """The settings of a target that heads can read. Raises ModelError for one of another kind."""
    rope = getattr(config, "rope_parameters", None)
    if not rope or "rope_type" not in rope or float(rope.get("partial_rotary_factor", 1.0)) != 1.0:
        raise ModelError(f"A head needs a target whose keys are rotated whole and in one way; {config.model_type}'s are not.")
    if missing := [name for name in ("num_key_value_heads", "rms_norm_eps") if not hasattr(config, name)]:
        raise ModelError(f"A head needs a target of Llama's kind; the configuration of {config.model_type} has no {missing[0]}.")
    return config


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
