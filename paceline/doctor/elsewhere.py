"""The same method in other engines, where they have it: what to type there. As their documentation names it in 2026; pure."""

from __future__ import annotations

import json

from paceline import plugins
from paceline.lm.load import resolve

__all__ = ["elsewhere"]


def elsewhere(spec: str, model: str, length: int) -> dict[str, str]:
    """Engine -> its settings for this drafter with drafts of `length` tokens; empty where no other engine has the method."""
    name, options = plugins.parse(spec)
    if name == "ngram":
        return _ngram(model, length, int(options.get("max_n", 4)))
    if name == "suffix":
        config = json.dumps({"method": "suffix", "num_speculative_tokens": length})
        return {"vllm (with arctic-inference installed)": f"vllm serve {where(model)} --speculative-config '{config}'"}
    if name == "small_model" and "beam" not in options and "branch" not in options:
        return _small_model(model, options["model"], length)
    return {}


def where(model: str) -> str:
    """A model as other engines find it: the embedded ones by their folder."""
    return str(resolve(model)) if model.startswith("zoo:") else model


def _ngram(model: str, length: int, longest: int) -> dict[str, str]:
    config = json.dumps({"method": "ngram", "num_speculative_tokens": length, "prompt_lookup_max": longest})
    return {
        "vllm": f"vllm serve {where(model)} --speculative-config '{config}'",
        "sglang (on CUDA)": f"python -m sglang.launch_server --model-path {where(model)} --speculative-algorithm NGRAM "
                            f"--speculative-num-draft-tokens {length}",
        "transformers": f"model.generate(**inputs, prompt_lookup_num_tokens={length}, max_matching_ngram_size={longest})",
    }


def _small_model(model: str, draft: str, length: int) -> dict[str, str]:
    config = json.dumps({"method": "draft_model", "model": where(draft), "num_speculative_tokens": length})
    return {
        "vllm": f"vllm serve {where(model)} --speculative-config '{config}'",
        "sglang": f"python -m sglang.launch_server --model-path {where(model)} --speculative-algorithm STANDALONE "
                  f"--speculative-draft-model-path {where(draft)} --speculative-num-steps {length} --speculative-eagle-topk 1 "
                  f"--speculative-num-draft-tokens {length + 1}",
        "transformers": f"model.generate(**inputs, assistant_model=AutoModelForCausalLM.from_pretrained('{where(draft)}'), "
                        f"num_assistant_tokens={length}, num_assistant_tokens_schedule='constant')",
    }
