"""A cost-realistic target from a small one: the same function at the cost of a larger model.

A small model decodes so fast that Python's share hides what drafting gains on real ones. `grow` inserts decoder blocks whose two
output projections are zero, so each adds exactly nothing to the residual stream, with a feed-forward wide enough to reach a
wanted number of parameters. Say so wherever a figure measured on a grown target is shown.
"""

import copy
from typing import Any

import torch

from paceline.errors import ModelError

__all__ = ["grow"]


def grow(model: Any, parameters: float = 100e6, blocks: int = 4, last: int = 2) -> Any:
    """A new transformers model equal to `model` (Llama type) with `blocks` identity blocks before its `last` layers.

    Logits are unchanged to the last bit in fp32, because x + 0 = x. parameters: about how many the result has. The model handed
    in is not changed; the result shares no weights with it. Raises ModelError for other families or sizes already reached.
    """
    if model.config.model_type != "llama":
        raise ModelError(f"grow needs a llama-type model; found {model.config.model_type!r}.")
    missing = parameters - sum(p.numel() for p in model.parameters())
    width = model.config.hidden_size
    ffn = int(missing / blocks - _attention_size(model)) // (3 * width) // 64 * 64
    if ffn < 64:
        raise ModelError(f"The model has {parameters - missing:.3g} parameters; grow to more than that, found {parameters:.3g}.")
    grown = copy.deepcopy(model)
    layers = grown.model.layers
    place = max(0, len(layers) - last)
    shape = copy.deepcopy(model.config)
    shape.intermediate_size = ffn
    random = torch.Generator().manual_seed(0)
    for _ in range(blocks):
        layers.insert(place, _identity_block(layers[0], shape, random))
    for i, layer in enumerate(layers):
        layer.self_attn.layer_idx = i
    grown.config.num_hidden_layers = len(layers)
    if getattr(grown.config, "layer_types", None):
        grown.config.layer_types = [grown.config.layer_types[0]] * len(layers)
    return grown


def _attention_size(model: Any) -> int:
    return sum(p.numel() for p in model.model.layers[0].self_attn.parameters())


def _identity_block(like: Any, shape: Any, random: torch.Generator) -> Any:
    """A decoder block with random weights and zero output projections."""
    block = type(like)(shape, 0).to(next(like.parameters())).eval()
    with torch.no_grad():
        for name, parameter in block.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight", "bias")):
                parameter.zero_()
            elif parameter.dim() == 2:
                drawn = torch.randn(parameter.shape, generator=random, dtype=torch.float32, device="cpu")
                parameter.copy_((0.02 * drawn).bfloat16())  # as checkpoints ship
    return block
