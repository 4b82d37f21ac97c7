"""The embedded target for texts eight times as long as it was trained on."""

from __future__ import annotations

import copy
from typing import Any

import torch
from transformers import LlamaForCausalLM

from paceline.lm.load import quiet, resolve

__all__ = ["stretched", "ungrouped"]

FACTOR, TRAINED = 8.0, 2048


def stretched(longest: int) -> Any:
    """`zoo:tiny` in fp32 with its rotations stretched by YaRN (Peng et al. 2023, arXiv 2309.00071), without training; its loss on
    held-out prose and code is as low behind 8,000 tokens as behind 1,000. Keys are 10 KB a token, so from some thousand tokens on
    a step mostly reads keys.
    """
    rope = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": FACTOR, "original_max_position_embeddings": TRAINED}
    with quiet():
        return LlamaForCausalLM.from_pretrained(resolve("zoo:tiny"), dtype=torch.float32, rope_parameters=rope,
                                                max_position_embeddings=longest)


def ungrouped(model: Any) -> Any:
    """The same function with a key head for every query head: keys that were shared are held twice, as models without grouped
    queries hold them, and a step reads twice as many.
    """
    config = copy.deepcopy(model.config)
    groups = config.num_attention_heads // config.num_key_value_heads
    config.num_key_value_heads = config.num_attention_heads
    weights = model.state_dict()
    for name, weight in weights.items():
        if "k_proj" in name or "v_proj" in name:
            weights[name] = weight.unflatten(0, (-1, config.head_dim)).repeat_interleave(groups, 0).flatten(0, 1)
    made = LlamaForCausalLM(config)
    made.load_state_dict(weights)
    return made.eval()
