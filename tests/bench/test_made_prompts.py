"""Prompts made here: the same every time, different from each other, and what their kind says."""

from __future__ import annotations

import zlib

import pytest

from paceline.bench.made_prompts import MADE_KINDS, made_prompts
from paceline.bench.run import Config, prompts_of
from paceline.errors import DataError, RequestError


@pytest.mark.parametrize("kind", MADE_KINDS)
def test_sixteen_different_ones_that_stay_the_same(kind: str) -> None:
    texts = [prompt.text for prompt in made_prompts(kind)]
    assert len(set(texts)) == 16 and texts == [prompt.text for prompt in made_prompts(kind)]
    assert {prompt.kind for prompt in made_prompts(kind)} == {kind}


def test_a_passage_stands_twice_and_begins_again() -> None:
    for prompt in made_prompts("copying"):
        text = prompt.text or ""
        half = max(n for n in range(len(text) // 2) if text[:n] == text[n : 2 * n])
        beginning = text[2 * half :]
        assert half > 100 and 0 < len(beginning) < half and text.startswith(beginning.rstrip())


def test_random_characters_do_not_compress() -> None:
    """Written with some 66 characters they keep the six bits of each; prose and passages need far less."""
    shares = {}
    for kind in MADE_KINDS:
        text = "".join(prompt.text or "" for prompt in made_prompts(kind)).encode()
        shares[kind] = len(zlib.compress(text, 9)) / len(text)
    assert shares["incompressible"] > 0.74 > 2 * shares["copying"]


def test_an_unknown_kind_names_the_nearest() -> None:
    with pytest.raises(DataError, match="Did you mean 'copying'"):
        made_prompts("copyng")


@pytest.mark.parametrize("data", [None, "nowhere"])
def test_a_task_with_a_typo_gets_the_nearest_of_all_kinds(data: str | None) -> None:
    with pytest.raises(RequestError, match="no task 'copyin'. Did you mean 'copying'"):
        prompts_of(Config(tasks=("copyin",), data=data))
