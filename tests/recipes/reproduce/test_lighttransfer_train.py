"""The reproduction of LightTransfer-Train runs through at its smallest; its texts are what they say they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import paceline
from paceline.errors import RequestError
from paceline.recipes.reproduce import lighttransfer_train
from paceline.recipes.reproduce.lighttransfer_train import _arms as measuring
from paceline.recipes.reproduce.lighttransfer_train._model import vocabulary
from paceline.recipes.reproduce.lighttransfer_train._texts import DIGIT, KINDS, WORDS, spoken, texts
from paceline.testing import tiny_model


def test_it_runs_through(tmp_path: Path) -> None:
    config = lighttransfer_train.Config(out=tmp_path / "out", work=tmp_path / "work", fast=True)
    page = lighttransfer_train.run(config)
    text, data = page.read_text(), json.loads(page.with_suffix(".json").read_text())
    assert "50% of the layers keep all keys" in text and "at test time" in text and page.with_suffix(".png").stat().st_size > 5000
    [cut], [tuned] = data["cut"], data["tuned"]
    assert set(cut) == set(KINDS) and len(cut["needles"]) == 2 + 3 * 6 and len(tuned["ends"]["cut"]) == 2
    assert tuned["counted"]["before"] != tuned["counted"]["after"]


def test_it_refuses_less_than_nothing(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="tuning"):
        lighttransfer_train.run(lighttransfer_train.Config(out=tmp_path, work=tmp_path, tuning=0))


@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_words_that_a_tokenizer_reads_and_their_answers_follow(kind: str) -> None:
    for tokens, learn in texts(kind, 3, 512, 7):
        words = spoken((tokens, learn)).split()
        assert vocabulary()(" ".join(words))["input_ids"] == tokens.tolist() and len(tokens) <= 512 and len(tokens) == len(learn)
        if kind == "sums":
            digits = [int(word) for word in words[4 : words.index("=") : 3]]
            assert [int(words[i + 1]) for i, word in enumerate(words) if word == "so"] == (np.cumsum(digits) % 10).tolist()
            assert words.index("=") < 64 < len(words)  # the question is shorter than what is kept, the whole is not
        if kind == "needles":
            hidden = {words[i + 1]: words[i + 2] for i, word in enumerate(words) if word == "#"}
            asked = [i for i, word in enumerate(words) if word == "?"]
            assert all(hidden[words[i + 1]] == words[i + 2] and learn[i + 2] for i in asked) and learn.sum() == len(asked)


@torch.inference_mode()
def test_a_right_rest_is_what_greedy_decoding_writes() -> None:
    lm = paceline.load(tiny_model(vocab=len(WORDS)), packed=False)
    [(tokens, _)] = texts("sums", 1, 512, 0)
    stop = measuring.place("answers", tokens)
    written = paceline.generate(lm, [tokens[: stop + 1].tolist()], max_new_tokens=12, eos=frozenset())[0].tokens
    text = np.concatenate([tokens[: stop + 1], written]), np.arange(stop + 13) > stop
    [score] = measuring.scored(lm, "answers", text, {"": measuring.uncut}).values()
    assert score.right and score.tokens == 12 and score.words == sum(token >= DIGIT for token in written)
    text[0][-1] = (text[0][-1] + 1) % len(WORDS)
    assert not measuring.scored(lm, "answers", text, {"": measuring.uncut})[""].right
