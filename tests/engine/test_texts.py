"""Texts to look at: start tokens, lengths, and other tokens in their place."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from paceline import RequestError
from paceline.engine.texts import Tokens, read_texts
from paceline.testing import toy_tokenizer

READER = SimpleNamespace(tokenizer=toy_tokenizer(), vocab=259)
BARE = SimpleNamespace(tokenizer=None, vocab=50)


def test_start_tokens() -> None:
    plain = read_texts(READER, ["abc"]).tokens[0]
    assert len(plain) == 3 and read_texts(READER, ["abc"], start_token=True).tokens == [[0, *plain]]
    assert read_texts(READER, [[0, *plain]], start_token=False).tokens == [plain]
    assert read_texts(READER, [[0, *plain]], start_token=True).tokens == [[0, *plain]]
    assert read_texts(BARE, [[5, 6]], start_token=9).tokens == [[9, 5, 6]]
    with pytest.raises(RequestError, match="no start token: give the id"):
        read_texts(BARE, [[5, 6]], start_token=True)


def test_short_texts_are_counted_and_left_out() -> None:
    assert read_texts(BARE, [[5] * 3, [6] * 5, [7] * 4], 4) == ([[6] * 4, [7] * 4], 1)
    assert read_texts(BARE, [[5] * 3], 4, start_token=9) == ([[9, 5, 5, 5]], 0)


def test_other_tokens() -> None:
    text = list(range(1, 12))

    def made(tokens: Tokens, seed: int = 0) -> list[int]:
        return read_texts(BARE, [text], start_token=9, tokens=tokens, seed=seed).tokens[0]

    assert sorted(made("shuffled")[1:]) == text and made("shuffled")[1:] != text
    twice = made("repeated")
    assert twice[1:6] == twice[6:11] and len(twice) == 12
    assert made("random") == made("random") != made("random", 1) and made("random")[0] == 9
    with pytest.raises(RequestError, match="one of given, random, shuffled, repeated"):
        read_texts(BARE, [text], tokens="rnd")  # type: ignore[arg-type]
