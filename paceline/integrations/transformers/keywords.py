"""What of transformers' `generate` the native door decodes exactly, as data: anything else goes to transformers' own decoding.

A whitelist. Exactly means the same sequences (for samples the same law), the same fields of the returned object and the same side
effects, for one row and for a padded batch. A keyword, an input or a class that is not named here is not known, so it is stock's.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from transformers import DynamicCache, GenerationConfig, GenerationMixin
from transformers.generation import logits_process, stopping_criteria

from paceline.lm.forwards.stock import device_of
from paceline.lm.sources.plain import plain

__all__ = ["KEYWORDS", "Call", "padding", "unhandled"]

# Handled, or without any effect on greedy decoding and sampling in transformers either.
EXACT = frozenset({
    "max_length", "max_new_tokens", "min_length", "min_new_tokens", "do_sample", "use_cache", "num_return_sequences",
    "pad_token_id", "bos_token_id", "eos_token_id", "temperature", "top_k", "top_p", "min_p", "top_h", "typical_p",
    "epsilon_cutoff", "eta_cutoff", "repetition_penalty", "no_repeat_ngram_size", "bad_words_ids", "sequence_bias",
    "suppress_tokens", "begin_suppress_tokens", "forced_bos_token_id", "forced_eos_token_id",
    "exponential_decay_length_penalty", "remove_invalid_values", "renormalize_logits", "watermarking_config",
    "early_stopping", "length_penalty", "diversity_penalty", "decoder_start_token_id", "cache_config", "max_cache_len",
    "compile_config", "disable_compile", "low_memory", "continuous_batching_config", "num_assistant_tokens",
    "num_assistant_tokens_schedule", "assistant_confidence_threshold", "assistant_lookbehind", "target_lookbehind",
    "assistant_ensemble_weight", "max_matching_ngram_size", "transformers_version", "inputs", "generation_config",
    "logits_processor", "stopping_criteria", "streamer", "custom_generate",
})
# Left to transformers, but for these values.
STOCK: dict[str, tuple[Any, ...]] = {
    "num_beams": (None, 1), "cache_implementation": (None, "dynamic"), "guidance_scale": (None, 1, 1.0),
    "encoder_repetition_penalty": (None, 1.0), "encoder_no_repeat_ngram_size": (None, 0),
    **dict.fromkeys(("return_dict_in_generate", "output_scores", "output_logits", "output_attentions", "output_hidden_states",
                     "is_assistant", "use_mtp", "synced_gpus"), (None, False)),
    **dict.fromkeys(("max_time", "prefill_chunk_size", "prompt_lookup_num_tokens", "assistant_early_exit", "speculation_type",
                     "prefix_allowed_tokens_fn", "assistant_model", "negative_prompt_ids", "negative_prompt_attention_mask"),
                    (None,)),
}
# Refused, but for these: the first two by transformers itself, which keeps the tokenizer from callables; the rest ask for modes
# that have left it.
REFUSED: dict[str, tuple[Any, ...]] = {
    "stop_strings": (None,), "token_healing": (None, False), "penalty_alpha": (None,), "dola_layers": (None,),
    "num_beam_groups": (None, 1), "constraints": (None,), "force_words_ids": (None,),
}
KEYWORDS = {**dict.fromkeys(EXACT, "exact"), **dict.fromkeys(STOCK, "stock"), **dict.fromkeys(REFUSED, "refused")}

# Whose answer for a row depends on nothing but that row's ids and scores, however often and in whatever order it is asked.
ROW_WISE = frozenset({
    logits_process.EpsilonLogitsWarper, logits_process.EtaLogitsWarper, logits_process.ExponentialDecayLengthPenalty,
    logits_process.ForcedBOSTokenLogitsProcessor, logits_process.ForcedEOSTokenLogitsProcessor,
    logits_process.InfNanRemoveLogitsProcessor, logits_process.LogitNormalization, logits_process.MinLengthLogitsProcessor,
    logits_process.MinNewTokensLengthLogitsProcessor, logits_process.MinPLogitsWarper, logits_process.NoBadWordsLogitsProcessor,
    logits_process.NoRepeatNGramLogitsProcessor, logits_process.RepetitionPenaltyLogitsProcessor,
    logits_process.SequenceBiasLogitsProcessor, logits_process.SuppressTokensAtBeginLogitsProcessor,
    logits_process.SuppressTokensLogitsProcessor, logits_process.TemperatureLogitsWarper, logits_process.TopHLogitsWarper,
    logits_process.TopKLogitsWarper, logits_process.TopPLogitsWarper, logits_process.TypicalLogitsWarper,
    logits_process.WatermarkLogitsProcessor,
    stopping_criteria.EosTokenCriteria, stopping_criteria.MaxLengthCriteria, stopping_criteria.StopStringCriteria,
})

# Whose own way of preparing inputs is the usual one for a text within the reach of their rotary embedding.
USUAL = frozenset({"Phi3ForCausalLM", "Gemma3ForConditionalGeneration"})


@dataclass(frozen=True)
class Call:
    """One call as `generate` has prepared it. kept: what `generate` keeps from a callable. streamer: wherever it was given."""

    model: Any
    input_ids: torch.Tensor
    processors: Sequence[Any]
    criteria: Sequence[Any]
    config: GenerationConfig
    inputs: dict[str, Any]
    kept: dict[str, Any]
    streamer: Any = None

    @property
    def mask(self) -> torch.Tensor:
        """Bool [B, T], False at padding."""
        mask = self.inputs.get("attention_mask")
        return torch.ones_like(self.input_ids, dtype=torch.bool) if mask is None else mask != 0


def padding(call: Call) -> list[int]:
    """Tokens of padding at the left of each row."""
    return (~call.mask).sum(1).tolist()


def unhandled(call: Call, row_wise: Sequence[type] = ()) -> Iterator[tuple[str, str]]:
    """What is not decoded exactly here: (its name, more about it). `row_wise`: further classes of which a user says so."""
    config = {k: v for k, v in vars(call.config).items() if not k.startswith("_")}
    for name, value in {**config, **call.kept}.items():
        harmless = (STOCK | REFUSED).get(name, (None,))
        if name not in EXACT and not any(type(value) is type(h) and value == h for h in harmless):
            yield name, ""
    yield from ((name, "") for name, value in call.inputs.items() if value is not None and not fits(name, value, call))
    known = ROW_WISE.union(row_wise)
    yield from ((type(p).__name__, "") for p in chain(call.processors, call.criteria) if type(p) not in known)
    if len(call.input_ids) > 1 and call.streamer is not None:
        yield "streamer", "with a batch"
    yield from ending(call)
    yield from features(call.model)


def fits(name: str, value: Any, call: Call) -> bool:
    """Whether a model input is what `generate` itself prepares for a text, and no more."""
    if name == "attention_mask":  # padding at the left; holes would count for windows, a right end for positions
        return value.shape == call.input_ids.shape and bool(((value == 0) | (value == 1)).all()) and bool(
            (value.long().diff(dim=1) >= 0).all() and (value[:, -1] == 1).all())
    if name == "position_ids":
        usual = (call.mask.cumsum(1) - 1).clamp(min=0)
        return value.dim() == 2 and value.shape[1] == usual.shape[1] and bool(((value == usual) | ~call.mask).all())
    if name == "past_key_values":
        return type(value) is DynamicCache and not getattr(value, "_is_user_defined", False)
    return name == "use_cache" or (name == "logits_to_keep" and value == 1) or (name == "mm_encoder_outputs" and not value)


def ending(call: Call) -> Iterator[tuple[str, str]]:
    """Ends that rows of a batch, or a row with end tokens, have in a way of their own."""
    ends = any(hasattr(c, "eos_token_id") for c in call.criteria)
    others = any(type(c) is not stopping_criteria.MaxLengthCriteria for c in call.criteria)
    if not ends and others and len(call.input_ids) > 1:  # an ended row is then written on until all have ended
        yield "stopping_criteria", "in a batch without eos_token_id"
    if ends and call.config._pad_token_tensor is None:
        yield "pad_token_id", "is missing beside an EosTokenCriteria"


def features(model: Any) -> Iterator[tuple[str, str]]:
    """What the model itself does in a way of its own."""
    for method in ("prepare_inputs_for_generation", "_prefill", "_sample", "_update_model_kwargs_for_generation"):
        own = getattr(type(model), method) is not getattr(GenerationMixin, method)
        if own and not (method == "prepare_inputs_for_generation" and type(model).__name__ in USUAL):
            yield type(model).__name__, f"its {method} is its own"
    if torch.is_autocast_enabled(device_of(model).type):
        yield "torch.autocast", "its products are rounded in a way of their own"
    if any(module.training for module in model.modules()):
        yield "model.train()", "dropout may be at work"
    if reason := plain(model):
        yield type(model).__name__, reason
