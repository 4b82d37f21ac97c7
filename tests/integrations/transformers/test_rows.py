"""What looks at token ids sees each row as it stands in transformers' batch, and Sampling takes what it can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    MaxLengthCriteria,
    RepetitionPenaltyLogitsProcessor,
    StoppingCriteria,
    StoppingCriteriaList,
)
from transformers.generation.logits_process import MinPLogitsWarper, TemperatureLogitsWarper, TopPLogitsWarper

from paceline import Sampling
from paceline.integrations.transformers.rows import sampling_of
from tests.door import DOOR, DRAFTERS, MODEL, NEW, both, inputs


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
        return sampling_of(MODEL._get_logits_processor(config, input_ids_seq_length=1, device="cpu"), seed=0)

    ours = mapped(temperature=0.7, top_k=9, top_p=0.8, min_p=0.1, repetition_penalty=1.2)
    assert (ours.temperature, ours.top_k, ours.top_p, ours.min_p, ours.repetition_penalty) == (0.7, 9, 0.8, 0.1, 1.2)
    assert not ours.processors and ours.seed is not None
    kept = mapped(temperature=0.7, top_k=9, no_repeat_ngram_size=2)
    assert len(kept.processors) == 3 and (kept.temperature, kept.top_k) == (1.0, 0)
    assert sampling_of([], seed=None).greedy
    for option in (TopPLogitsWarper(0.9, min_tokens_to_keep=3), MinPLogitsWarper(0.1, filter_value=-9.0), TopPLogitsWarper(0.0),
                   RepetitionPenaltyLogitsProcessor(2.0, prompt_ignore_length=21)):
        assert len(sampling_of([option], seed=0).processors) == 1


@pytest.mark.parametrize("drafter", DRAFTERS)
@pytest.mark.parametrize("config", PROCESSED, ids=lambda config: next(iter(config)))
def test_greedy_with_processors_is_equal(config: dict[str, Any], drafter: str) -> None:
    theirs, ours = both(drafter, inputs("abcabcab", "x"), **config)
    assert torch.equal(theirs, ours)


def test_a_processor_of_the_user_s_own() -> None:
    theirs, ours = both(DRAFTERS[1], inputs("abcabcab"), logits_processor=LogitsProcessorList([NoSpaces()]))
    assert torch.equal(theirs, ours)


class AfterLength(StoppingCriteria):
    """Ends each row at a length, padding included, as criteria see it."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __call__(self, input_ids: torch.Tensor, scores: Any, **keywords: Any) -> torch.Tensor:
        return torch.full((len(input_ids),), input_ids.shape[1] >= self.length)


def test_criteria_of_the_user_s_own() -> None:
    theirs, ours = both(DRAFTERS[1], inputs("abcabcab", "x"), stopping_criteria=StoppingCriteriaList([AfterLength(13)]))
    assert torch.equal(theirs, ours) and ours.shape[1] == 13


class Counting(LogitsProcessor):
    """Looks at the number of its calls, at the padding and at its row's number, as no draft may be allowed to show."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        ids = [(self.calls + 7 * row + int((line == 2).sum())) % scores.shape[1] for row, line in enumerate(input_ids)]
        return torch.full_like(scores, -torch.inf).scatter(1, torch.tensor(ids)[:, None], 0.0)


def shared_option() -> dict[str, Any]:
    return {"logits_processor": LogitsProcessorList([TopPLogitsWarper(0.9, filter_value=-5.0), TemperatureLogitsWarper(1.5)])}


ROWS: dict[str, Callable[[], dict[str, Any]]] = {
    "warpers without sampling": shared_option,
    "a processor with state": lambda: {"logits_processor": LogitsProcessorList([Counting()])},
    "an option of a penalty": lambda: {"logits_processor": LogitsProcessorList(
        [RepetitionPenaltyLogitsProcessor(3.0, prompt_ignore_length=6)])},
    "a penalty beside others": lambda: {"repetition_penalty": 1.5, "no_repeat_ngram_size": 2, "min_length": 14},
    "a constraint by row": lambda: {"prefix_allowed_tokens_fn": lambda row, ids: [60 + row, 70 + len(ids) + row]},
    "two limits": lambda: {"stopping_criteria": StoppingCriteriaList([MaxLengthCriteria(11)])},
    "no end token": lambda: {"stopping_criteria": StoppingCriteriaList([AfterLength(13)]), "eos_token_id": None},
    "positions": lambda: {"position_ids": torch.arange(8)[None] * 2},
    "holes": lambda: {"attention_mask": torch.tensor([[1, 0, 1, 1, 0, 1, 1, 1]] * 2)},
    "a right end": lambda: {"attention_mask": torch.tensor([[1, 1, 1, 1, 1, 1, 0, 0]] * 2)},
}


@pytest.mark.parametrize("texts", [("abcabcab",), ("abcabcab", "xyx")], ids=["one", "padded"])
@pytest.mark.parametrize("what", ROWS)
def test_what_looks_at_rows_and_their_places_sees_them_as_in_transformers(what: str, texts: tuple[str, ...]) -> None:
    given = [{**inputs(*texts), **ROWS[what]()} for _ in range(2)]
    for each in given:
        each["attention_mask"] = each["attention_mask"][: len(texts)]
    theirs, ours = (MODEL.generate(**each, max_new_tokens=NEW, do_sample=False, **door)
                    for each, door in zip(given, ({}, {"custom_generate": DOOR}), strict=True))
    assert torch.equal(theirs, ours)


def test_a_class_that_the_user_vouches_for_is_drafted(notes: set[str]) -> None:
    theirs, ours = both(DRAFTERS[1], inputs("abcabcab", "xyx"), {"row_wise": [NoSpaces], "strict": True},
                        logits_processor=LogitsProcessorList([NoSpaces()]))
    assert torch.equal(theirs, ours) and not notes
