"""Every keyword of `generate` and of its config does as the table says, in the transformers that is installed."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import (
    CompileConfig,
    ContinuousBatchingConfig,
    GenerationConfig,
    GenerationMixin,
    LogitsProcessorList,
    NoRepeatNGramLogitsProcessor,
    StoppingCriteriaList,
    StopStringCriteria,
)

import paceline
from paceline.integrations.transformers.keywords import KEYWORDS
from paceline.testing import tiny_model
from tests.door import DOOR, MODEL, TOKENIZER, inputs

OTHER = tiny_model(seed=7)


class Silent:
    def put(self, value: Any) -> None: ...

    def end(self) -> None: ...


def likeliest(**keywords: Any) -> Callable[[], dict[str, Any]]:
    """A sampling call that has one outcome, so that it can be compared."""
    return lambda: {"do_sample": True, "top_k": 1, **keywords}


SAMPLES: dict[str, Any] = {  # a value that is not the default; a function makes all keywords of the call
    "max_length": 14, "max_new_tokens": 3, "min_length": 14, "min_new_tokens": 7, "do_sample": likeliest(), "use_cache": False,
    "num_return_sequences": likeliest(num_return_sequences=2), "pad_token_id": 5, "bos_token_id": 5, "eos_token_id": [5, 202],
    **{name: likeliest(**{name: value}) for name, value in {
        "temperature": 0.7, "top_k": 1, "top_p": 0.9, "min_p": 0.1, "top_h": 0.4, "typical_p": 0.9, "epsilon_cutoff": 0.01,
        "eta_cutoff": 0.01}.items()},
    "repetition_penalty": 1.7, "no_repeat_ngram_size": 2, "bad_words_ids": [[202], [67, 68]], "sequence_bias": [[[70], 90.0]],
    "suppress_tokens": list(range(100, 200)), "begin_suppress_tokens": [202, 67], "forced_bos_token_id": 70,
    "forced_eos_token_id": 1, "exponential_decay_length_penalty": (2, 1.5), "remove_invalid_values": True,
    "renormalize_logits": True, "watermarking_config": {"bias": 9.0}, "early_stopping": True, "length_penalty": 2.0,
    "diversity_penalty": 0.5, "decoder_start_token_id": 4, "cache_config": {"nbits": 4}, "max_cache_len": 64,
    "compile_config": CompileConfig(), "disable_compile": True, "low_memory": True,
    "continuous_batching_config": ContinuousBatchingConfig(), "num_assistant_tokens": 3,
    "num_assistant_tokens_schedule": "heuristic", "assistant_confidence_threshold": 0.1, "assistant_lookbehind": 3,
    "target_lookbehind": 3, "assistant_ensemble_weight": 0.5, "max_matching_ngram_size": 3, "transformers_version": "5.0",
    "inputs": lambda: {"inputs": torch.tensor([[67, 68, 69, 67]]), "input_ids": None, "attention_mask": None},
    "generation_config": GenerationConfig(max_new_tokens=5, repetition_penalty=1.3, eos_token_id=1, pad_token_id=2),
    "logits_processor": LogitsProcessorList([NoRepeatNGramLogitsProcessor(2)]),
    "stopping_criteria": StoppingCriteriaList([StopStringCriteria(TOKENIZER, ["a", "b", "c"])]),
    "streamer": lambda: {"streamer": Silent(), "input_ids": torch.tensor([[67, 68, 69]]), "attention_mask": None},
    "num_beams": 2, "cache_implementation": "static", "guidance_scale": 2.0, "encoder_repetition_penalty": 2.0,
    "encoder_no_repeat_ngram_size": 2, "return_dict_in_generate": True, "output_scores": True, "output_logits": True,
    "output_attentions": True, "output_hidden_states": True, "is_assistant": True, "use_mtp": True, "synced_gpus": True,
    "max_time": 600.0, "prefill_chunk_size": 4, "prompt_lookup_num_tokens": 3, "assistant_early_exit": 1,
    "speculation_type": "dflash", "prefix_allowed_tokens_fn": lambda: {
        "prefix_allowed_tokens_fn": lambda row, ids: [60 + row, 70 + len(ids)]},
    "assistant_model": OTHER, "negative_prompt_ids": torch.tensor([[70]]), "negative_prompt_attention_mask": torch.tensor([[1]]),
    "stop_strings": lambda: {"stop_strings": "a", "tokenizer": TOKENIZER},
    "token_healing": lambda: {"token_healing": True, "tokenizer": TOKENIZER},
    "penalty_alpha": lambda: {"penalty_alpha": 0.6, "top_k": 4}, "dola_layers": "low",
    "num_beam_groups": lambda: {"num_beam_groups": 2, "num_beams": 2, "diversity_penalty": 0.5}, "constraints": [1],
    "force_words_ids": lambda: {"force_words_ids": [[70]], "num_beams": 2},
}


def test_the_table_has_every_keyword_of_this_transformers() -> None:
    config = {name for name in vars(GenerationConfig()) if not name.startswith("_")}
    given = set(inspect.signature(GenerationMixin.generate).parameters) - {"self", "kwargs"}
    assert set(KEYWORDS) == config | given
    assert set(SAMPLES) == set(KEYWORDS) - {"custom_generate"}


def outcome(name: str, **door: Any) -> Any:
    """What a call of two rows with this keyword returns, or the error that it raises."""
    keywords = SAMPLES[name]() if inspect.isfunction(SAMPLES[name]) else {name: SAMPLES[name]}
    given = inputs("abcabcab", "xyx")
    lengths = {} if {"max_length", "generation_config"} & set(keywords) else {"max_new_tokens": 8}
    try:
        out = MODEL.generate(**{**given, **lengths, **keywords, **door})
    except Exception as error:
        return error
    return out if isinstance(out, torch.Tensor) else out.sequences


@pytest.mark.parametrize("name", SAMPLES)
def test_a_keyword_does_as_the_table_says(name: str, notes: set[str]) -> None:
    theirs, ours = outcome(name), outcome(name, custom_generate=DOOR)
    if KEYWORDS[name] == "refused":
        assert isinstance(ours, ValueError | paceline.ModelError)
        return
    assert name in notes if KEYWORDS[name] == "stock" else not notes
    if isinstance(theirs, Exception):
        assert KEYWORDS[name] == "stock" and type(ours) is type(theirs) and str(ours) == str(theirs)
    else:
        assert torch.equal(theirs, ours)
