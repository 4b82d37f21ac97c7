"""The transformers-native door gives what `model.generate` gives, in its types, or says why not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import DynamicCache, StoppingCriteriaList, StopStringCriteria, TextIteratorStreamer
from transformers.generation.utils import GenerateDecoderOnlyOutput

import paceline
from paceline import ModelError, PacelineError
from tests.door import DOOR, DRAFTERS, MODEL, NEW, TOKENIZER, both, inputs


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


def test_a_dict_is_returned_where_asked_with_all_its_fields() -> None:
    theirs, ours = both(DRAFTERS[1], inputs("abcabcab"), return_dict_in_generate=True, output_scores=True)
    assert type(ours) is GenerateDecoderOnlyOutput and torch.equal(theirs.sequences, ours.sequences)
    assert ours.past_key_values.get_seq_length() == 8 + NEW - 1 and len(ours.scores) == NEW


def test_sampling_repeats_with_torch_s_seed() -> None:
    def run(seed: int) -> list[list[int]]:
        torch.manual_seed(seed)
        given = inputs("abcabcab", "abcabcab")
        door = paceline.accelerate(DRAFTERS[1])
        return MODEL.generate(**given, do_sample=True, top_k=20, max_new_tokens=NEW, custom_generate=door).tolist()

    assert run(1) == run(1) != run(2)
    assert run(1)[0] != run(1)[1]


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
    assert torch.equal(both(drafter, inputs("abcabcab"), stopping_criteria=criteria)[1], theirs)


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


@pytest.mark.parametrize("texts", [("abcabcab",), ("abcabcab", "x")], ids=["one", "batch"])
def test_a_streamer_of_generate_is_served_too(texts: tuple[str, ...]) -> None:
    theirs, ours = Collector(), Collector()
    keywords = {**inputs(*texts), "max_new_tokens": NEW, "do_sample": False}
    MODEL.generate(**keywords, streamer=theirs)
    MODEL.generate(**keywords, streamer=ours, custom_generate=DOOR)
    assert ours.tokens == theirs.tokens and ours.ended


def test_the_reader_of_a_streamer_never_waits_for_ever() -> None:
    streamer = TextIteratorStreamer(TOKENIZER, timeout=5)
    with pytest.raises(ModelError, match="guidance_scale"):
        MODEL.generate(**inputs("ab"), max_new_tokens=4, guidance_scale=2.0, streamer=streamer,
                       custom_generate=paceline.accelerate(strict=True))
    assert "".join(streamer) == "ab"
    streamer = TextIteratorStreamer(TOKENIZER, timeout=5)
    with pytest.raises(ModelError, match="Streamers"):
        MODEL.generate(**inputs("ab"), max_new_tokens=4, streamer=streamer,
                       custom_generate=paceline.accelerate(streamer=Collector()))
    assert "".join(streamer) == "ab"


def test_a_cache_that_is_handed_in_is_filled_and_gone_on_with() -> None:
    caches = [DynamicCache(config=MODEL.config) for _ in range(2)]
    for texts in ("abcabc", "abcabcabcabcabcabc"):
        theirs, ours = (MODEL.generate(**inputs(texts), past_key_values=cache, max_new_tokens=4, **door)
                        for cache, door in zip(caches, ({}, {"custom_generate": DOOR}), strict=True))
        assert torch.equal(theirs, ours)
        assert caches[0].get_seq_length() == caches[1].get_seq_length() > 0


def test_what_is_not_decoded_here_is_named_once_a_process(notes: set[str], caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        MODEL.generate(**inputs("abc"), max_new_tokens=2, num_beams=2, custom_generate=DOOR)
    assert [r.getMessage() for r in caplog.records if "num_beams" in r.getMessage()] and notes == {"num_beams"}
    assert len([r for r in caplog.records if r.name == "paceline"]) == 1
    with pytest.raises(ModelError, match="num_beams"):
        MODEL.generate(**inputs("abc"), max_new_tokens=2, num_beams=2, custom_generate=paceline.accelerate(strict=True))


@pytest.mark.parametrize(("options", "problem"), [
    ({"reproducable": True}, "Did you mean 'reproducible'"), ({"strict": "no"}, "strict must"), ({"exact": "x"}, "exact"),
    ({"forward": "fast"}, "forward must"), ({"packed": 5}, "packed must"), ({"tokenizer": "gpt2"}, "tokenizer must"),
    ({"stop_strings": "a"}, "need the tokenizer"), ({"stop_strings": 5, "tokenizer": TOKENIZER}, "stop_strings must"),
    ({"stop_strings": [""], "tokenizer": TOKENIZER}, "stop_strings must"), ({"row_wise": [5]}, "row_wise must"),
    ({"streamer": print}, "streamer must"),
], ids=str)  # fmt: skip
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(PacelineError, match=problem):
        paceline.accelerate(**options)


def test_outputs_asked_for_once_leave_nothing_behind_that_keeps_later_calls_from_drafting(notes: set[str]) -> None:
    given = {**inputs("abc"), "max_new_tokens": 4, "do_sample": False}
    MODEL.generate(**given, output_hidden_states=True, return_dict_in_generate=True, custom_generate=DOOR)
    assert "output_hidden_states" in notes
    assert torch.equal(MODEL.generate(**given), MODEL.generate(**given, custom_generate=paceline.accelerate("none", strict=True)))
