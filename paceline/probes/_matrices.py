"""A model's weight matrices by role, layer by layer, whoever describes the model: fused ones split, all as [out, in]."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from paceline.errors import ModelError
from paceline.lm.decoder import Decoder, Heads
from paceline.lm.trace import Subject
from paceline.lm.weights.unpacked import dense

__all__ = ["ROLES", "heads_of", "matrices"]

ROLES = ("q", "k", "v", "o", "gate", "up", "down")
NAMES = {
    "q_proj": "q", "k_proj": "k", "v_proj": "v", "o_proj": "o", "out_proj": "o", "attention.dense": "o", "self_attn.dense": "o",
    "attn.c_proj": "o", "gate_proj": "gate", "up_proj": "up", "fc1": "up", "c_fc": "up", "dense_h_to_4h": "up",
    "down_proj": "down", "fc2": "down", "mlp.c_proj": "down", "dense_4h_to_h": "down",
    "qkv_proj": "q k v", "c_attn": "q k v", "query_key_value": "qkv of each head", "gate_up_proj": "gate up",
}  # fmt: skip
PLACE = re.compile(r"\.(\d+)\.(?:.*\.)?(\w+\.(\w+))$")  # layer, the last two names, the last name


def matrices(subject: Subject) -> Iterator[dict[str, torch.Tensor]]:
    """Of each layer: role (of `ROLES`, those it has) -> weight [out, in] in fp32, quantised ones as the numbers they stand for.

    Raises ModelError for a transformers model whose linears have names that are not known here.
    """
    if (decoder := subject.decoder) is not None:
        yield from (described(decoder, i) for i in range(len(decoder.layers)))
        return
    heads, found = heads_of(subject.settings), by_layer(subject.module)
    if not found:
        raise ModelError(f"Spectra need linears by names such as q_proj or down_proj; {subject.name} has none of them.")
    for modules in found:
        parts = [parts_of(what, module, heads) for what, module in modules.items()]
        yield {role: weight for part in parts for role, weight in part.items()}


def heads_of(settings: Any) -> Heads:
    """As a configuration says it, whatever it calls them. Raises ModelError for one without attention heads."""
    if (queries := getattr(settings, "num_attention_heads", None)) is None:
        raise ModelError(f"Spectra need attention heads; found a model of type {settings.model_type}, which has none.")
    dim = getattr(settings, "head_dim", None) or settings.hidden_size // queries
    return Heads(queries, getattr(settings, "num_key_value_heads", None) or queries, dim)


def described(decoder: Decoder, layer: int) -> dict[str, torch.Tensor]:
    at, heads = decoder.layers[layer], decoder.heads
    qkv, o, gate_up, down = (dense(part).weight.float() for part in (at.qkv, at.out, at.gate_up, at.down))
    q, k, v = qkv.split([heads.queries * heads.dim, *[heads.keys * heads.dim] * 2])
    gate, up = gate_up.chunk(2)
    return dict(zip(ROLES, (q, k, v, o, gate, up, down), strict=True))


def by_layer(model: Any) -> list[dict[str, Any]]:
    """Of each layer, what a matrix is -> its module."""
    found: dict[int, dict[str, Any]] = defaultdict(dict)
    for name, module in model.named_modules():
        place = None if "expert" in name else PLACE.search(name)  # the linears of one expert are not the layer's
        if place and (what := NAMES.get(place[2]) or NAMES.get(place[3])):
            found[int(place[1])][what] = module
    return [found[layer] for layer in sorted(found)]


def parts_of(what: str, module: Any, heads: Heads) -> Mapping[str, torch.Tensor]:
    """One module's matrices by role. Raises ModelError where queries, alone or with keys and values, have another size."""
    weight = module.weight.detach().float()
    weight = weight.T if type(module).__name__ == "Conv1D" else weight  # GPT-2's lie as [in, out]
    sizes = [heads.queries * heads.dim, *[heads.keys * heads.dim] * 2]
    whose, expected = ("queries", sizes[0]) if what == "q" else ("queries, keys and values together", sum(sizes))
    if what.startswith("q") and len(weight) != expected:  # a gate may be among them
        raise ModelError(f"Spectra expected {expected} outputs of {whose}; found {len(weight)}.")
    if what == "q k v":
        return dict(zip(what.split(), weight.split(sizes), strict=True))
    if what == "qkv of each head":
        apart = weight.unflatten(0, (heads.queries, 3, heads.dim)).unbind(1)
        return {role: part.flatten(0, 1) for role, part in zip("qkv", apart, strict=True)}
    roles = what.split()
    return dict(zip(roles, weight.chunk(len(roles)), strict=True))
