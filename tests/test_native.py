"""The transformers-native door gives what `model.generate` gives, in its types, or says why not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import (
    DynamicCache,
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    StaticCache,
    StoppingCriteria,
    StoppingCriteriaList,
    StopStringCriteria,
)
from transformers.generation.utils import GenerateDecoderOnlyOutput

import paceline
from paceline import ModelError, RequestError, Sampling
from paceline.native import sampling_of
from paceline.testing import tiny_model, toy_tokenizer

TOKENIZER = toy_tokenizer()
MODEL = tiny_model()
DRAFTERS = ["none", "ngram:min_n=1,worth=0"]
NEW = 16


def inputs(*texts: str) -> dict[str, torch.Tensor]:
    return dict(TOKENIZER(list(texts), return_tensors="pt", padding=True, padding_side="left", return_token_type_ids=False))


def both(drafter: str, given: dict[str, Any], options: dict[str, Any] | None = None, **keywords: Any) -> tuple[Any, Any]:
    """(what transformers writes, what we write)."""
    keywords = {"max_new_tokens": NEW, "do_sample": False, **keywords}
    return (MODEL.generate(**given, **keywords),
            MODEL.generate(**given, **keywords, custom_generate=paceline.accelerate(drafter, **(options or {}))))


@pytest.mark.parametrize("drafter", DRAFTERS)
@pytest.mark.parametrize("texts", [("abcabcab",), ("abcabcab", "x", "hello hello he")], ids=["one", "left-padded"])
def test_greedy_sequences_are_equal(texts: tuple[str, ...], drafter: str) -> None:
    theirs, ours = both(drafter, inputs(*texts))
    assert torch.equal(theirs, ours)


def test_ends_pad_like_transformers() -> None:
    free = MODEL.generate(**inputs("abcabcab", "x"), max_new_tokens=NEW, do_sample=False)
    ends = [int(free[0, 12]), int(free[1, 18])]
    theirs, ours = both(DRAFTERS[1], inputs("abcabcab", "x"), eos_token_id=ends, pad_token_id=2)
    assert torch.equal(theirs, ours)


def test_a_dict_is_returned_where_asked() -> None:
    theirs, ours = both(DRAFTERS[1], inputs("abcabcab"), return_dict_in_generate=True)
    assert type(ours) is GenerateDecoderOnlyOutput and torch.equal(theirs.sequences, ours.sequences)


def test_sampling_repeats_with_torch_s_seed() -> None:
    def run(seed: int) -> list[list[int]]:
        torch.manual_seed(seed)
        given = inputs("abcabcab", "abcabcab")
        door = paceline.accelerate(DRAFTERS[1])
        return MODEL.generate(**given, do_sample=True, top_k=20, max_new_tokens=NEW, custom_generate=door).tolist()

    assert run(1) == run(1) != run(2)
    assert run(1)[0] != run(1)[1]


class NoSpaces(LogitsProcessor):
    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return scores.index_fill(1, torch.tensor([35]), -torch.inf)


PROCESSED: list[dict[str, Any]] = [
    {"repetition_penalty": 1.5},
    {"no_repeat_ngram_size": 2},
    {"bad_words_ids": [[70], [90]]},
    {"min_new_tokens": 10},
    {"suppress_tokens": list(range(100, 200))},
]


def test_processors_map_to_sampling_or_are_kept_whole() -> None:
    def mapped(**config: Any) -> Sampling:
        config = GenerationConfig(do_sample=True, **config)
        return sampling_of(config, MODEL._get_logits_processor(config, input_ids_seq_length=1, device="cpu"))

    torch.manual_seed(0)
    ours = mapped(temperature=0.7, top_k=9, top_p=0.8, min_p=0.1, repetition_penalty=1.2)
    assert (ours.temperature, ours.top_k, ours.top_p, ours.min_p, ours.repetition_penalty) == (0.7, 9, 0.8, 0.1, 1.2)
    assert not ours.processors and ours.seed is not None
    kept = mapped(temperature=0.7, top_k=9, no_repeat_ngram_size=2)
    assert len(kept.processors) == 3 and (kept.temperature, kept.top_k) == (1.0, 0)
    assert sampling_of(GenerationConfig(do_sample=False), []).greedy


@pytest.mark.parametrize("drafter", DRAFTERS)
@pytest.mark.parametrize("config", PROCESSED, ids=lambda config: next(iter(config)))
def test_greedy_with_processors_is_equal(config: dict[str, Any], drafter: str) -> None:
    theirs, ours = both(drafter, inputs("abcabcab", "x"), **config)
    assert torch.equal(theirs, ours)


def test_a_processor_of_the_user_s_own() -> None:
    theirs, ours = both(DRAFTERS[1], inputs("abcabcab"), logits_processor=LogitsProcessorList([NoSpaces()]))
    assert torch.equal(theirs, ours)


@pytest.mark.parametrize("drafter", DRAFTERS)
def test_stop_strings_with_the_tokenizer_bound(drafter: str) -> None:
    free = MODEL.generate(**inputs("abcabcab"), max_new_tokens=NEW, do_sample=False)[0, 8:]
    texts = [TOKENIZER.decode(free[i : i + 2]) for i in range(4, 14)]
    stop = next(t for t in texts if len(t) == 2 and "\ufffd" not in t)
    criteria = StoppingCriteriaList([StopStringCriteria(TOKENIZER, [stop])])
    theirs, ours = both(drafter, inputs("abcabcab"), {"tokenizer": TOKENIZER}, stopping_criteria=criteria)
    assert torch.equal(theirs, ours) and ours.shape[1] < 8 + NEW
    bound = {"tokenizer": TOKENIZER, "stop_strings": [stop]}
    assert torch.equal(both(drafter, inputs("abcabcab"), bound)[1], theirs)
    with pytest.raises(RequestError, match="tokenizer"):
        both(drafter, inputs("abcabcab"), stopping_criteria=criteria)


class AfterLength(StoppingCriteria):
    """Ends each row at a length, padding included, as criteria see it."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __call__(self, input_ids: torch.Tensor, scores: Any, **keywords: Any) -> torch.Tensor:
        return torch.full((len(input_ids),), input_ids.shape[1] >= self.length)


def test_criteria_of_the_user_s_own() -> None:
    theirs, ours = both(DRAFTERS[1], inputs("abcabcab", "x"), stopping_criteria=StoppingCriteriaList([AfterLength(13)]))
    assert torch.equal(theirs, ours) and ours.shape[1] == 13


class Collector:
    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.ended = False

    def put(self, value: torch.Tensor) -> None:
        self.tokens += value.flatten().tolist()

    def end(self) -> None:
        self.ended = True


@pytest.mark.parametrize("drafter", DRAFTERS)
def test_a_streamer_gets_the_same_tokens(drafter: str) -> None:
    theirs, ours = Collector(), Collector()
    keywords = {**inputs("abcabcab"), "max_new_tokens": NEW, "do_sample": False}
    MODEL.generate(**keywords, streamer=theirs)
    MODEL.generate(**keywords, custom_generate=paceline.accelerate(drafter, streamer=ours))
    assert ours.tokens == theirs.tokens and ours.ended
    with pytest.raises(ModelError, match="streamer"):
        MODEL.generate(**inputs("a", "b"), max_new_tokens=2, custom_generate=paceline.accelerate(drafter, streamer=Collector()))


STATIC = StaticCache(config=MODEL.config, max_cache_len=64)
REFUSED: dict[str, dict[str, Any]] = {
    "beams": {"num_beams": 2},
    "scores": {"output_scores": True, "return_dict_in_generate": True},
    "logits": {"output_logits": True, "return_dict_in_generate": True},
    "hidden states": {"output_hidden_states": True, "return_dict_in_generate": True},
    "static cache": {"past_key_values": STATIC},
    "static implementation": {"cache_implementation": "static"},
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_drafting_does_not_have_is_refused(what: str) -> None:
    with pytest.raises(ModelError):
        MODEL.generate(**inputs("abc"), max_new_tokens=4, custom_generate=paceline.accelerate(), **REFUSED[what])


def test_a_cache_with_keys_in_it_is_refused() -> None:
    cache = DynamicCache(config=MODEL.config)
    with torch.no_grad():
        MODEL(**inputs("abc"), past_key_values=cache)
    with pytest.raises(ModelError, match="cache was handed in"):
        MODEL.generate(**inputs("abcd"), past_key_values=cache, max_new_tokens=4, custom_generate=paceline.accelerate())


def test_changed_weights_are_noticed() -> None:
    model, door = tiny_model(seed=3), paceline.accelerate("none")
    keywords = {**inputs("abcabc"), "max_new_tokens": 8, "do_sample": False}
    assert torch.equal(model.generate(**keywords, custom_generate=door), model.generate(**keywords))
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight.mul_(-2.0)
    assert torch.equal(model.generate(**keywords, custom_generate=door), model.generate(**keywords))
