"""The transformers-native door: `model.generate(**inputs, custom_generate=paceline.accelerate(drafter="ngram"))`.

transformers hands a callable its prepared logits processors, stopping criteria and generation config, and silently drops
streamer and tokenizer, so those are bound here. Batches of any size work; rows are decoded to their own lengths.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from transformers import GenerationConfig
from transformers.generation import logits_process, stopping_criteria
from transformers.generation.utils import GenerateDecoderOnlyOutput

from paceline.engine import Engine
from paceline.errors import ModelError
from paceline.lm import LM
from paceline.row import Request
from paceline.sampling import Sampling

__all__ = ["accelerate"]

REFUSED = ("output_scores", "output_logits", "output_attentions", "output_hidden_states")
NATIVE = {  # transformers' processors that Sampling has, in the order both apply them
    logits_process.RepetitionPenaltyLogitsProcessor: ("repetition_penalty", "penalty"),
    logits_process.TemperatureLogitsWarper: ("temperature", "temperature"),
    logits_process.TopKLogitsWarper: ("top_k", "top_k"),
    logits_process.TopPLogitsWarper: ("top_p", "top_p"),
    logits_process.MinPLogitsWarper: ("min_p", "min_p"),
}


def accelerate(drafter: Any = "ngram", *, tokenizer: Any = None, streamer: Any = None, stop_strings: Sequence[str] = (),
               exact: bool | None = None, **options: Any) -> Callable[..., Any]:
    """A function for `model.generate(custom_generate=…)` that decodes with a drafter, losslessly.

    tokenizer and stop_strings: text that ends a row; given here because `generate` refuses `stop_strings` with a callable.
    streamer: a transformers streamer (batch of one). options: `forward` and `packed` of
    `load`, `rule` and `controller` of `Engine`, `reproducible`. The model stays unchanged; its packed copy is made on the first
    call and again when its weights have changed. Raises ModelError for beams, static caches and outputs that it does not have.
    """
    loading = {k: options.pop(k) for k in ("forward", "packed") if k in options}
    reproducible = options.pop("reproducible", False)
    known: dict[int, tuple[tuple[int, ...], LM]] = {}

    def loaded(model: Any) -> LM:
        version = tuple(p._version for p in model.parameters())
        if id(model) not in known or known[id(model)][0] != version:
            known[id(model)] = version, LM(model, tokenizer, **loading)
        return known[id(model)][1]

    def custom_generate(model: Any, input_ids: torch.Tensor, logits_processor: Any = None, stopping_criteria: Any = None,
                        generation_config: GenerationConfig | None = None, **model_kwargs: Any) -> Any:
        assert generation_config is not None
        refuse(generation_config, model_kwargs)
        mask = model_kwargs.get("attention_mask")
        prompts = [ids[mask[b].bool()].tolist() if mask is not None else ids.tolist() for b, ids in enumerate(input_ids)]
        sampling = sampling_of(generation_config, logits_processor or [])
        plan = {"eos": frozenset(_ids(generation_config.eos_token_id)), "reproducible": reproducible,
                "max_new_tokens": int(generation_config.max_length) - input_ids.shape[1]}
        stops, until = stops_of(stopping_criteria or [], input_ids)
        stops = (*stops, *((stop_strings,) if isinstance(stop_strings, str) else stop_strings))
        engine = Engine(loaded(model), drafter, exact=exact, slots=min(8, len(prompts)), **options)
        requests = [Request(p, replace(sampling, seed=None if sampling.seed is None else sampling.seed + b), stop=stops,
                            until=until and _offset(until, input_ids[b], len(p)), **plan) for b, p in enumerate(prompts)]
        rows = _run(engine, requests, streamer, input_ids)
        return _output([r.new_tokens for r in rows], input_ids, generation_config)

    return custom_generate


def refuse(config: GenerationConfig, model_kwargs: dict[str, Any]) -> None:
    """Raise ModelError for what this door does not do."""
    if (config.num_beams or 1) > 1:
        raise ModelError(f"Drafted decoding does not do beam search; found num_beams={config.num_beams}. Use num_beams=1.")
    for name in REFUSED:
        if getattr(config, name, None):
            raise ModelError(f"{name}=True is not available from drafted decoding; use paceline.generate with "
                             "Sampling(logprobs=…) for log-probabilities.")
    cache = model_kwargs.get("past_key_values")
    if cache is not None and (type(cache).__name__ != "DynamicCache" or cache.get_seq_length() > 0):
        raise ModelError(f"A cache was handed in ({type(cache).__name__}), but Paceline keeps its own; call generate without "
                         "past_key_values and cache_implementation.")


def sampling_of(config: GenerationConfig, processors: Sequence[Any]) -> Sampling:
    """Sampling equal to what transformers prepared; its own processor objects where Sampling has no such field.

    The seed comes from torch's global generator, so `torch.manual_seed` makes a call repeatable.
    """
    kinds = [type(p) for p in processors]
    places = [list(NATIVE).index(k) for k in kinds if k in NATIVE]
    seed = int(torch.randint(2**62, (), dtype=torch.long, device="cpu").item()) if config.do_sample else 0
    if len(places) == len(kinds) and places == sorted(set(places)):
        values = {NATIVE[k][0]: getattr(p, NATIVE[k][1]) for k, p in zip(kinds, processors, strict=True)}
        return Sampling(**{"temperature": 1.0 if config.do_sample else 0.0, "seed": seed, **values})
    return Sampling(temperature=1.0 if config.do_sample else 0.0, processors=tuple(processors), seed=seed)


def stops_of(criteria: Sequence[Any], input_ids: torch.Tensor) -> tuple[tuple[str, ...], Callable[[Sequence[int]], bool] | None]:
    """Stop strings, and one test for all criteria that Request has no field for."""
    stops: list[str] = []
    others = []
    for criterion in criteria:
        if isinstance(criterion, stopping_criteria.StopStringCriteria):
            stops += criterion.stop_strings
        elif not isinstance(criterion, stopping_criteria.MaxLengthCriteria | stopping_criteria.EosTokenCriteria):
            others.append(criterion)
    if not others:
        return tuple(stops), None

    def until(tokens: Sequence[int]) -> bool:
        ids = torch.tensor([list(tokens)], dtype=torch.long, device=input_ids.device)
        return any(bool(torch.as_tensor(c(ids, None), dtype=torch.bool, device="cpu").any()) for c in others)

    return tuple(stops), until


def _offset(until: Callable[[Sequence[int]], bool], row: torch.Tensor, prompt_len: int) -> Callable[[Sequence[int]], bool]:
    """Criteria see the row as transformers would show it, left padding included."""
    padding = row[: len(row) - prompt_len].tolist()
    return lambda tokens: until([*padding, *tokens])


def _run(engine: Engine, requests: Sequence[Request], streamer: Any, input_ids: torch.Tensor) -> list[Any]:
    """All rows to their end; with a streamer, tokens go out as they are committed."""
    if streamer is not None and len(requests) > 1:
        raise ModelError("A streamer shows one sequence; found a batch. Call generate without streamer.")
    rows = [engine.submit(r) for r in requests]
    if streamer is not None:
        streamer.put(input_ids.cpu())
    while any(row.finish_reason is None for row in rows):
        before = len(rows[0].tokens)
        engine.step()
        if streamer is not None:
            streamer.put(torch.tensor(rows[0].tokens[before:], dtype=torch.long, device="cpu"))
    if streamer is not None:
        streamer.end()
    return rows


def _output(new: Sequence[Sequence[int]], input_ids: torch.Tensor, config: GenerationConfig) -> Any:
    """Sequences [B, T + longest], padded on the right, in the type transformers would return."""
    longest = max(map(len, new))
    ends = _ids(config.eos_token_id)
    fill = config.pad_token_id if config.pad_token_id is not None else (ends[0] if ends else 0)
    tails = torch.tensor([[*t, *[int(fill)] * (longest - len(t))] for t in new], dtype=torch.long,
                         device=input_ids.device)
    sequences: Any = torch.cat((input_ids, tails), 1)
    return GenerateDecoderOnlyOutput(sequences=sequences) if config.return_dict_in_generate else sequences


def _ids(value: Any) -> list[int]:
    """Token ids from what a generation config may hold: None, a number, a list or a tensor."""
    return [] if value is None else [int(v) for v in torch.as_tensor(value, dtype=torch.long, device="cpu").flatten()]
