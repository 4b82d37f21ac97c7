"""Prompts of a given length: exactly so long, all different, and the needle is in each of them."""

from __future__ import annotations

import pytest

import paceline
from paceline.bench.long_prompts import LONG_KINDS, long_prompts
from paceline.bench.run import Config
from paceline.bench.tasks import encode
from paceline.errors import DataError, RequestError


@pytest.mark.parametrize("tokens", [256, 3000])
@pytest.mark.parametrize("kind", LONG_KINDS)
def test_they_are_exactly_so_long_and_all_different(kind: str, tokens: int) -> None:
    tokenizer = paceline.load("zoo:tiny").tokenizer
    encoded = [encode(tokenizer, prompt) for prompt in long_prompts(kind, tokens)]
    assert [len(ids) for ids in encoded] == [tokens] * 8 and len({tuple(ids) for ids in encoded}) == 8


def test_the_needle_is_there_at_eight_depths() -> None:
    tokenizer = paceline.load("zoo:tiny").tokenizer
    places = []
    for prompt in long_prompts("needle", 1200):
        text = tokenizer.decode(encode(tokenizer, prompt))
        question = text[text.rindex("The secret number") :]
        assert text.count(question) == 2 and text.endswith(question)
        places.append(text.index(question) / len(text))
    assert places == sorted(places) and places[0] < 0.15 and places[-1] > 0.5


def test_bad_requests_are_said() -> None:
    with pytest.raises(RequestError, match="at least 192 tokens, found 8"):
        long_prompts("needle", 8)
    with pytest.raises(DataError, match="needle"):
        long_prompts("nedle", 100)
    with pytest.raises(RequestError, match="made, not read"):
        Config(context=100, data="somewhere")
